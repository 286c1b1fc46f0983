"""One job of a sweep: the same as its command, in the folder and with the code that the sweep has for it."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tdattr import cli
from tdattr.jobs import STOP
from tdattr.run_status import CANCEL, FAILED, INTERRUPTED, RUNNING, begin_status, end_status, read_status
from tdattr.sweeps.record import Sweep, SweepJob, read_sweep

TASK, LOCAL_TASK = "SLURM_PROCID", "SLURM_LOCALID"  # of a job of SLURM, and of those on the same machine
TIME_OVER = "its time was over once too often: the same command resumes it; or raise hydra.launcher.time or requeue."


def arguments(sweep: Sweep, job: SweepJob) -> list[str]:
    """The command line of a job: a single run with a number."""
    places = {"hydra.run.dir": sweep.folder / job.folder, "hydra.sweep.dir": sweep.folder}
    where = [f"{key}={quote(str(path))}" for key, path in places.items()]
    return [*sweep.hydra, "hydra.mode=RUN", *where, f"hydra.job.num={job.number}", *job.overrides]


def quote(text: str) -> str:
    """A text as the value of an override."""
    return "'" + text.replace("'", r"\'") + "'"


def run(folder: Path, number: int) -> int:
    """Run a job in this process, and note how it ended. Gives its exit status."""
    sweep = read_sweep(folder)
    job = sweep.job(number)
    enter(sweep)
    place, log = sweep.folder / job.folder, str(sweep.folder / job.log)
    if (place / CANCEL).exists():
        return 0
    begin_status(place, log)
    sys.argv[1:] = arguments(sweep, job)
    jobs = cli.Jobs(cli.CONFIG, log)
    try:
        cli.main(jobs)
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        jobs.reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        if (read_status(place) or {}).get("state") == RUNNING:  # it ended before it was composed
            end_status(place, INTERRUPTED if jobs.signals else FAILED, jobs.reason)


def enter(sweep: Sweep) -> None:
    """Be where the command was given; processes that are started here find the sweep's code."""
    os.chdir(sweep.working_folder)
    if sweep.code is not None:
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = sweep.code if not before else f"{sweep.code}{os.pathsep}{before}"
        os.environ["PYTHONSAFEPATH"] = "1"


def let_pass(number: int, frame: FrameType | None) -> None:
    """A signal that SLURM sends beside its warning. submitit logs each, which ends in a traceback where the process is
    writing a line at that moment."""


@dataclass(frozen=True)
class SlurmJob:
    """What one job of SLURM does: some jobs of a sweep, side by side where there are several, or one that several tasks
    share. submitit calls it in each task, and has set how the signal is answered that SLURM sends to all of them before
    the time is over: by queueing the job again."""

    folder: str
    numbers: tuple[int, ...]

    def __call__(self) -> None:
        """Run, stop in time, and be queued again."""
        from submitit import JobEnvironment
        from submitit.core.utils import UncompletedJobError

        warning = JobEnvironment._usr_sig()
        queue_again: Any = signal.getsignal(warning)
        received: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            received.append(number)
            signal.raise_signal(STOP)

        signal.signal(warning, stop)
        for passed in (signal.SIGTERM, signal.SIGCONT):
            signal.signal(passed, let_pass)
        if os.environ.get(TASK, "0") != "0":
            from tdattr.sweeps.task import run_task

            sys.exit(run_task(Path(self.folder), self.numbers[0], int(os.environ[LOCAL_TASK])))
        if len(self.numbers) == 1:
            status = run(Path(self.folder), self.numbers[0])
        else:
            from tdattr.sweeps.local import run_side_by_side

            status = run_side_by_side(Path(self.folder), self.numbers, lambda: bool(received))
        if received:
            try:
                queue_again(received[0], None)
            except UncompletedJobError:  # it was queued again too often
                sweep = read_sweep(Path(self.folder))
                for number in self.numbers:
                    end_status(sweep.folder / sweep.job(number).folder, FAILED, TIME_OVER)
        sys.exit(status)

    def checkpoint(self) -> Any:
        """What a job does that was queued again: the same, in the same folder."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2])))
