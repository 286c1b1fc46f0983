"""Waiting for the jobs of a sweep, and what became of each."""

import logging
import os
import time
from collections.abc import Collection

from tdattr.sweeps.record import ENDED, Sweep, SweepJob, read_status

log = logging.getLogger(__name__)
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # between two looks; the longer it takes, the fewer
PATIENCE = 0.05  # of the time that has passed


def wait(sweep: Sweep, numbers: Collection[int]) -> dict[int, str]:
    """Wait until those jobs have ended, and say of each how. Gives why those that failed did, by number."""
    began = time.monotonic()
    open_jobs = [sweep.job(number) for number in numbers]
    failed: dict[int, str] = {}
    while open_jobs:
        states = find_states(sweep)
        for job in list(open_jobs):
            state = states.get(job.number)
            if state is None:
                continue
            open_jobs.remove(job)
            reason = find_failure(sweep, job, state)
            shown = describe(sweep, job)
            if reason is None:
                log.info("Job #%d%s is done.", job.number, shown)
            else:
                failed[job.number] = reason
                log.error("Job #%d%s has failed: %s Its log: %s", job.number, shown, reason, sweep.folder / job.log)
        if open_jobs:
            passed = time.monotonic() - began
            time.sleep(min(LONGEST_SECONDS, max(SHORTEST_SECONDS, PATIENCE * passed)))
    return failed


def find_states(sweep: Sweep) -> dict[int, str]:
    """How each job that is over has ended, in the words of what ran it; the others are missing."""
    if sweep.launcher == "slurm":
        from tdattr.sweeps.slurm import find_ended

        return find_ended(sweep)
    running = sweep.process is not None and is_running(sweep.process)
    states = {job.number: read_status(sweep.folder / job.folder).get("state") for job in sweep.jobs}
    return {number: state or "never started" for number, state in states.items() if state in ENDED or not running}


def find_failure(sweep: Sweep, job: SweepJob, state: str) -> str | None:
    """Why a job that is over has failed; None where it is done."""
    status = read_status(sweep.folder / job.folder)
    if status.get("state") == "done":
        return None
    if status.get("state") == "failed":
        return str(status.get("error"))
    return f"it was ended before it was done ({state}): the same command resumes it."


def describe(sweep: Sweep, job: SweepJob) -> str:
    """What of a job's overrides the other jobs do not all have, in brackets."""
    shared = set.intersection(*(set(other.overrides) for other in sweep.jobs)) if len(sweep.jobs) > 1 else set()
    own = [override for override in job.overrides if override not in shared]
    return f" ({' '.join(own)})" if own else ""


def is_running(process: int) -> bool:
    """Whether a process of this machine is there; one that this process has started is buried if it has ended."""
    try:
        return os.waitpid(process, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
