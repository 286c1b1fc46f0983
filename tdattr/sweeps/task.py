"""The further tasks of a job of SLURM: each does a share of the job's work for as long as the first one runs it."""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from tdattr.cli import CONFIG
from tdattr.jobs import STOP, Interrupted, interruptible
from tdattr.overrides import choose_loggers
from tdattr.run_status import CANCEL, RUNNING, is_running, name_attempt, read_status
from tdattr.search_path import CONF, register_launchers
from tdattr.sweeps.job import arguments, enter
from tdattr.sweeps.record import Sweep, SweepJob, read_sweep
from tdattr.sweeps.states import SILENT_SECONDS

LOOK_SECONDS = 1.0  # between two looks at what the first task says
GRACE_SECONDS = 30.0  # in which this task ends by itself; what it builds then is lost, and nothing else


def run_task(folder: Path, number: int, local_rank: int) -> int:
    """Work beside the first task of a job of a sweep, the ``local_rank``-th on this machine, and leave nothing but
    artifacts. Gives the exit status: 1 where it has failed, which costs the job nothing but this share."""
    sweep = read_sweep(folder)
    job = sweep.job(number)
    place = sweep.folder / job.folder
    if (place / CANCEL).exists():
        return 0
    enter(sweep)
    from tdattr.pipeline.worker import explain, work_as_task  # seconds

    try:
        with interruptible():
            threading.Thread(target=end_with_first, args=(place,), daemon=True).start()
            work_as_task(compose_job(sweep, job), local_rank)
    except Interrupted:
        return 0
    except Exception as error:
        print(f"This task has failed, and the others do its share: {explain(error)}", file=sys.stderr)
        return 1
    return 0


def compose_job(sweep: Sweep, job: SweepJob) -> DictConfig:
    """The config of a job with Hydra's node, as the first task composes it, which alone sets up its folder and logs."""
    register_launchers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(CONFIG, choose_loggers(arguments(sweep, job)), return_hydra_config=True)
    with open_dict(cfg.hydra.runtime):
        cfg.hydra.runtime.output_dir = str(sweep.folder / job.folder)
    return cfg


def end_with_first(place: Path) -> None:
    """End this process when the first task of its job, whose status is in ``place``, has ended or is gone."""
    attempt, silence = name_attempt(), 0.0
    before: Mapping[str, Any] | None = None
    while silence < SILENT_SECONDS:  # by the looks, as clocks jump, and a job may be suspended with all its tasks
        time.sleep(LOOK_SECONDS)
        status = read_status(place)
        if status is None or status.get("attempt") != attempt:  # of an earlier one
            status = None
        elif status["state"] != RUNNING or is_gone(status):
            break
        silence = 0.0 if status != before else silence + LOOK_SECONDS
        before = status
    os.kill(os.getpid(), STOP)
    time.sleep(GRACE_SECONDS)
    os._exit(0)


def is_gone(status: Mapping[str, Any]) -> bool:
    """Whether a run's process was on this machine, and is not there any more."""
    return status.get("host") == socket.gethostname() and not is_running(status["pid"], status.get("process"))
