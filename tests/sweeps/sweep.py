"""Sweeps without a launcher: their record, and processes that say what a run says."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tdattr.run_status import identify_process, now, read_status, write_status
from tdattr.sweeps.record import Sweep, SweepJob

LONG_ENOUGH_SECONDS = 300.0
RUN = """
import sys, time
from pathlib import Path
from tdattr.progress import Bar
from tdattr.run_status import report_run
with report_run(Path(sys.argv[1]), str):
    bar = Bar("Training F1", 40, 10)
    time.sleep(1000)
"""


def make_sweep(folder: Path, jobs: int = 4, launcher: str = "local", process: int | None = None) -> Sweep:
    """A sweep over seeds of which no job has started; ``process``: of the command that starts them."""
    made = [
        SweepJob(number, ["method=random", f"seed={number}"], str(number), None, f"{number}/job.log")
        for number in range(jobs)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    sweep = Sweep(
        folder=folder,
        command=["tdattr", "-m", "method=random", f"seed=range({jobs})"],
        launcher=launcher,
        submitted=now(),
        settings={},
        environment={},
        working_folder=str(folder),
        hydra=[],
        code=None,
        revision=None,
        slots=[],
        process=process,
        jobs=made,
    )
    sweep.write()
    return sweep


def say(sweep: Sweep, number: int, state: str, process: int = 1, **facts: Any) -> None:
    """What a job says of itself, as if it ran in some process of this machine."""
    import socket

    folder = sweep.folder / sweep.job(number).folder
    folder.mkdir(exist_ok=True)
    said = {"state": state, "stage": "", "done": 0, "total": None, "seconds_left": None, "step": None, "error": None}
    said |= {"started": now(), "updated": now(), "pid": process, "process": identify_process(process)}
    write_status(folder, said | {"host": socket.gethostname(), "log": "run.log"} | facts)


@contextmanager
def run_job(sweep: Sweep, number: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that runs a job for as long as it is let."""
    folder = sweep.folder / sweep.job(number).folder
    folder.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: (read_status(folder) or {}).get("stage"))
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition gives as soon as it holds."""
    end = time.monotonic() + LONG_ENOUGH_SECONDS
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return result
