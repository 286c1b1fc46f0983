"""What this machine has for jobs that run at once: its GPUs, or its cores."""

import os

from tdattr.jobs import count_cores

CORES, GPUS = "TDATTR_THREADS", "CUDA_VISIBLE_DEVICES"
OMP = "OMP_NUM_THREADS"  # what torch takes where nobody says how many threads, and other libraries


def list_gpus() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    if GPUS in os.environ:
        return [name for name in os.environ[GPUS].split(",") if name.strip() not in ("", "-1")]
    import torch  # seconds, once a sweep

    return [str(index) for index in range(torch.cuda.device_count())]


def share_cores(cores: int, jobs: int) -> dict[str, str]:
    """The environment of each of so many jobs on so many cores."""
    share = str(max(1, cores // jobs))
    return {CORES: share, OMP: share}


def make_slots(
    wanted: int, pack: int | None, most: int | None, gpus: list[str], devices: int, workers: int = 1
) -> list[dict[str, str]]:
    """The environments in which ``wanted`` jobs run, each of whose ``workers`` needs ``devices`` GPUs of those that
    there are, if any, or a core: as many of them as jobs may run at once. See ``conf/hydra/launcher/local.yaml`` for
    ``pack`` and ``most``."""
    cores = count_cores()
    devices *= workers
    if gpus:
        groups = [gpus[start : start + devices] for start in range(0, len(gpus) - devices + 1, devices)] or [gpus]
        places = [{GPUS: ",".join(group)} for _ in range(pack or 1) for group in groups]
    else:
        places = [{} for _ in range(pack or max(1, cores // workers))]
    places = places[: min(wanted, most or wanted)]
    return [place | share_cores(cores, len(places)) for place in places]
