"""Jobs of a sweep as processes of this machine, several at once; also inside a job of SLURM that several share."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from tdattr.errors import UserError, first_line
from tdattr.jobs import ENDING, STOP, WARNING, Interrupted, count_cores, ignored, interruptible
from tdattr.ranges import Count
from tdattr.run_status import CANCEL, FAILED, INTERRUPTED, LOST, RUNNING, end_status, read_status, report_run
from tdattr.sweeps.launch import Launch, Needs
from tdattr.sweeps.machine import CORES, list_gpus, make_slots, share_cores
from tdattr.sweeps.pool import POOL_LOG, end_pools, start_pool
from tdattr.sweeps.record import Sweep, read_sweep

POLL_SECONDS = 0.1
GRACE_SECONDS = 60.0  # in which a job that is told to end does so


@dataclass(frozen=True)
class LocalSettings(Launch):
    """``conf/hydra/launcher/local.yaml``."""

    pack: Count | None
    jobs: Count | None

    def check(self, needs: Sequence[Needs]) -> None:
        """The jobs must need the same: each runs wherever one has ended."""
        asked: dict[str, set[int] | set[str]] = {
            "workers": {need.workers for need in needs},
            "trainer.devices": {need.trainer.devices for need in needs},
            "trainer.accelerator": {need.trainer.accelerator for need in needs},
        }
        for key, values in asked.items():
            if len(values) > 1:
                raise UserError(f"hydra/launcher=local gives every job the same place: give {key} a single value.")

    def start(self, sweep: Sweep, cfg: DictConfig, numbers: Sequence[int], detached: bool) -> Sweep:
        """Start the process that starts the others, and ends with this one unless it is ``detached``."""
        gpus = [] if cfg.trainer.accelerator == "cpu" else list_gpus()
        slots = make_slots(len(numbers), self.pack, self.jobs, gpus, cfg.trainer.devices, cfg.workers)
        sweep = replace(sweep, slots=slots)
        sweep.write()
        sweep = replace(sweep, process=start_pool(sweep, numbers, detached))
        sweep.write()
        return sweep

    def interrupt(self, sweep: Sweep) -> str:
        """End the jobs: they are processes of this command."""
        end_pools()
        return "Interrupted, and the jobs of the sweep that ran with it: the same command resumes them."


def run_side_by_side(folder: Path, numbers: Sequence[int], told: Callable[[], bool]) -> int:
    """Run jobs at once that share the devices and the cores of one of SLURM's. Gives the highest exit status.

    ``told``: whether this process alone was told to stop; SLURM tells all processes of a job to end.
    """
    cores = int(os.environ.get(CORES, count_cores()))
    slots = [share_cores(cores, len(numbers)) for _ in numbers]
    return run_jobs(read_sweep(folder), numbers, slots, told)


def run_jobs(sweep: Sweep, numbers: Sequence[int], slots: Sequence[dict[str, str]], forward: Callable[[], bool]) -> int:
    """Run jobs in processes, one in each slot at a time. Gives the highest exit status. A signal ends them too: it is
    sent on to them where ``forward()`` says so."""
    waiting, free = list(numbers), list(slots)
    running: dict[subprocess.Popen[bytes], tuple[int, dict[str, str]]] = {}
    highest = 0
    with interruptible():
        try:
            while waiting or running:
                while waiting and free:
                    number = waiting.pop(0)
                    if (sweep.folder / sweep.job(number).folder / CANCEL).exists():
                        continue
                    slot = free.pop(0)
                    running[start(sweep, number, slot)] = number, slot
                time.sleep(POLL_SECONDS)
                for process in [process for process in running if process.poll() is not None]:
                    number, slot = running.pop(process)
                    free.append(slot)
                    highest = max(highest, bury(sweep, number, process.returncode))
        except Interrupted as error:
            stop(list(running), forward())
            for process, (number, _) in running.items():
                bury(sweep, number, process.returncode)
            return 128 + error.number
    return highest


def start(sweep: Sweep, number: int, slot: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start one job."""
    job = sweep.job(number)
    (sweep.folder / job.log).parent.mkdir(parents=True, exist_ok=True)
    with (sweep.folder / job.log).open("a") as output, ignored(*WARNING):  # which one process of a SLURM job answers
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "tdattr.sweeps.job", str(sweep.folder), str(number)],
            cwd=sweep.code,
            env=os.environ | slot,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def bury(sweep: Sweep, number: int, status: int) -> int:
    """Note how a job has ended that could not say it. Gives its exit status as a shell does."""
    place = sweep.folder / sweep.job(number).folder
    if (read_status(place) or {}).get("state") in (None, RUNNING) and not (place / CANCEL).exists():
        reason = f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
        memory = ", perhaps because the memory was full" if status == -signal.SIGKILL else ""
        state = FAILED if status >= 0 else INTERRUPTED if -status in ENDING else LOST
        end_status(place, state, f"{reason}{memory}: the same command resumes it.")
    return 128 - status if status < 0 else status


def stop(processes: Sequence["subprocess.Popen[bytes]"], forward: bool) -> None:
    """Wait until jobs have ended that are told to."""
    until = time.monotonic() + GRACE_SECONDS
    if forward:
        for process in processes:
            process.send_signal(STOP)
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_with_parent() -> None:
    """End this process when the one that started it is gone, and so its end of the standard input."""

    def listen() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not by sys.stdin, whose lock Python wants when it ends
            pass
        os.kill(os.getpid(), STOP)

    threading.Thread(target=listen, daemon=True).start()


if __name__ == "__main__":
    this = read_sweep(Path(sys.argv[1]))
    if not json.loads(sys.argv[3]):
        end_with_parent()
    with report_run(this.folder, first_line, POOL_LOG):
        status = run_jobs(this, json.loads(sys.argv[2]), this.slots, lambda: True)
    sys.exit(status)
