"""How the jobs of a sweep are: what each says of itself, and whether its process or its job of SLURM is there."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from tdattr.run_status import CANCEL, DONE, FAILED, INTERRUPTED, LOST, RUNNING, is_running, read_status
from tdattr.sweeps import queue
from tdattr.sweeps.record import SLURM, Sweep, SweepJob

State = Literal["WAITING", "RUNNING", "DONE", "FAILED", "LOST", "CANCELLED", "INTERRUPTED"]
ENDED: tuple[State, ...] = ("DONE", "FAILED", "LOST", "CANCELLED", "INTERRUPTED")
FAILURES: tuple[State, ...] = ("FAILED", "LOST", "INTERRUPTED")  # after which a sweep is not whole
ENDS_BADLY: tuple[State, ...] = (*FAILURES, "CANCELLED")  # what can be started again
STARTING_SECONDS = 60.0  # within which whatever starts the jobs has said that it is there
SILENT_SECONDS = 300.0  # without a sign of life, of which a run gives one every 20 s, until one elsewhere is lost
RESUMED = ": the same command resumes it."
FORGOTTEN = ""  # in SLURM's place for the state of a job that it does not know
CANCELLED = "CANCELLED"  # in SLURM's words


@dataclass(frozen=True)
class JobState:
    """A job, how it is, what it says of itself (empty before it has said anything), and why it is so, if that is to be
    said."""

    job: SweepJob
    state: State
    status: Mapping[str, Any]
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.state in ENDED


@dataclass(frozen=True)
class SweepState:
    """The jobs of a sweep; ``unknown`` says why SLURM could not be asked, where that is so."""

    sweep: Sweep
    jobs: list[JobState]
    unknown: str | None = None

    def count(self, *states: State) -> int:
        """How many jobs are in one of these states."""
        return sum(job.state in states for job in self.jobs)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of any job."""
        return all(job.ended for job in self.jobs)


def read_states(sweep: Sweep) -> SweepState:
    """How all jobs are."""
    return read_all([sweep])[0]


def read_all(sweeps: Sequence[Sweep]) -> list[SweepState]:
    """How all jobs of some sweeps are. SLURM is asked once, before the files are read: what it no longer knows has said
    its last."""
    queued: dict[str, str] | None = None
    unknown = None
    in_slurm = [sweep for sweep in sweeps if sweep.launcher == SLURM]
    if in_slurm:
        try:
            queued = queue.ask(job.id for sweep in in_slurm for job in sweep.jobs if job.id is not None)
        except queue.NoAnswer as error:
            unknown = str(error)
    states = []
    for sweep in sweeps:
        asked, why = (queued, unknown) if sweep in in_slurm else (None, None)
        starting = is_starting(sweep)
        states.append(SweepState(sweep, [judge(sweep, job, asked, starting) for job in sweep.jobs], why))
    return states


def is_starting(sweep: Sweep) -> bool:
    """Whether the process is there that starts the jobs which wait, on this machine, or submits them."""
    status = read_status(sweep.folder)
    if status is None:
        if sweep.process is not None:
            return is_running(sweep.process, None)
        return seconds_since(sweep.submitted) < STARTING_SECONDS
    return status["state"] == RUNNING and why_gone(status) is None


def why_gone(status: Mapping[str, Any]) -> str | None:
    """Why the process of a run is not there any more; None where it is. It is looked up on this machine, and elsewhere
    believed for as long as it gives signs of life."""
    process, updated = status.get("pid"), status.get("updated")
    if process is None or updated is None:
        return "its status says nothing of a process"
    if status.get("host") == socket.gethostname():
        return None if is_running(process, status.get("process")) else f"its process {process} is gone without an end"
    there = seconds_since(updated) < SILENT_SECONDS
    return None if there else f"no sign of life from {status.get('host')} since {updated}"


def seconds_since(time: str) -> float:
    """How long ago a time of ISO 8601 was."""
    return (datetime.now(timezone.utc) - datetime.fromisoformat(time)).total_seconds()


def judge(sweep: Sweep, job: SweepJob, queued: Mapping[str, str] | None, starting: bool) -> JobState:
    """One job. ``queued``: the jobs that SLURM knows, None where it was not asked or has not answered; ``starting``:
    whether someone starts those jobs that wait."""
    folder = sweep.folder / job.folder
    status = read_status(folder) or {}
    said = status.get("state")
    if said == DONE:
        return JobState(job, "DONE", status)
    in_slurm = None if queued is None or job.id is None else queued.get(job.id, FORGOTTEN)
    if in_slurm in queue.PENDING:
        return JobState(job, "WAITING", {})
    if said == FAILED:
        return JobState(job, "FAILED", status, status.get("error"))
    left = None
    if in_slurm in (FORGOTTEN, *queue.ENDED):
        left = f"SLURM says {in_slurm}" if in_slurm else "it is not in SLURM's queue any more"
    elif in_slurm is not None and said == RUNNING:  # it may be suspended, or another attempt, and be silent
        return JobState(job, "RUNNING", status)
    elif in_slurm is not None and said != LOST:
        return JobState(job, "RUNNING", {}, "starting")
    gone = left or (why_gone(status) if said == RUNNING else status.get("error"))
    if said == RUNNING and gone is None:
        return JobState(job, "RUNNING", status)
    if (folder / CANCEL).exists() or in_slurm == CANCELLED:
        return JobState(job, "CANCELLED", status)
    if said == INTERRUPTED:
        return JobState(job, "INTERRUPTED", status, gone)
    if said is None and left is None:
        return judge_unstarted(sweep, job, starting or (job.id is not None and queued is None))
    return JobState(job, "LOST", status, gone)


def judge_unstarted(sweep: Sweep, job: SweepJob, starting: bool) -> JobState:
    """A job that has said nothing, and of which SLURM says nothing."""
    if starting:
        return JobState(job, "WAITING", {})
    if (read_status(sweep.folder) or {}).get("state") in (INTERRUPTED, DONE):
        return JobState(job, "INTERRUPTED", {}, "the sweep was interrupted before it")
    return JobState(job, "LOST", {}, "the process that would have started it is gone")


def explain(job: JobState) -> str:
    """Why a job is not done, in a sentence that says what to do."""
    if job.state == "FAILED":
        return job.reason or "it has not said why."
    why = f": {job.reason.removesuffix(RESUMED)}" if job.reason else ""
    return f"it is {job.state.lower()}{why}{RESUMED}"


def log_of(sweep: Sweep, job: SweepJob) -> Path:
    """Where a job's words are."""
    return sweep.folder / job.log
