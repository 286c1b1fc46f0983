"""How a sweep is told in lines: one for each job, and the numbers of all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.progress import duration
from tdattr.sweeps.record import SweepJob
from tdattr.sweeps.states import ENDS_BADLY, State, SweepState, log_of, seconds_since

ORDER: tuple[State, ...] = ("RUNNING", "FAILED", "LOST", "INTERRUPTED", "CANCELLED", "WAITING", "DONE")
COLUMN = 11  # characters of the longest state


@dataclass(frozen=True)
class Line:
    """What is said of one job."""

    number: int
    state: State
    label: str  # its own overrides
    text: str

    def __str__(self) -> str:
        words = [f"#{self.number:<4} {self.state:<{COLUMN}}", self.label, self.text]
        return "  ".join(word for word in words if word)


def label_jobs(jobs: Sequence[SweepJob]) -> dict[int, str]:
    """What of each job's overrides the others do not all have."""
    if len(jobs) < 2:
        return {job.number: " ".join(job.overrides) for job in jobs}
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    return {job.number: " ".join(given for given in job.overrides if given not in shared) for job in jobs}


def tell(sweep: SweepState) -> list[Line]:
    """A line for each job, in their order."""
    labels = label_jobs(sweep.sweep.jobs)
    lines = []
    for job in sweep.jobs:
        number = job.job.number
        if job.state == "RUNNING":
            text = tell_stage(job.status) or job.reason or ""
        elif job.state == "DONE":
            text = tell_length(job.status)
        elif job.state in ENDS_BADLY:
            log = log_of(sweep.sweep, job.job)
            text = " ".join(filter(None, [job.reason, f"({shorten(log)})" if log.exists() else None]))
        else:
            text = ""
        lines.append(Line(number, job.state, labels[number], text))
    return lines


def shorten(path: Path) -> str:
    """A path as one may type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def tell_stage(status: Any) -> str:
    """``Attributing (mucs) 15 %, 2:10 left; Unlearning query 3 40 of 200``."""
    if not status.get("stage"):
        return ""
    total, step = status.get("total"), status.get("step")
    text = str(status["stage"])
    if total:
        text += f" {100 * status['done'] / total:.0f} %"
    if status.get("seconds_left") is not None:
        text += f", {duration(max(0.0, status['seconds_left'] - seconds_since(status['updated'])))} left"
    if step:
        counted = f" {step['done']} of {step['total']}" if step["total"] else ""
        text += f"; {step['stage']}{counted}"
    return text


def tell_length(status: Any) -> str:
    """For how long a run that is done has run."""
    if "started" not in status or "updated" not in status:
        return ""
    return f"in {duration(seconds_since(status['started']) - seconds_since(status['updated']))}"


def count(sweep: SweepState) -> str:
    """``2 running, 1 failed, 7 waiting, 3 done``."""
    return ", ".join(f"{number} {state.lower()}" for state in ORDER if (number := sweep.count(state)))


def choose(lines: Sequence[Line], most: int) -> list[Line]:
    """The lines, or where there are more than ``most``: those of jobs that run and of those that went wrong."""
    if len(lines) <= most:
        return list(lines)
    running = [line for line in lines if line.state == "RUNNING"]
    wrong = sorted((line for line in lines if line.state in ENDS_BADLY), key=lambda line: ORDER.index(line.state))
    wrong = wrong[: max(most - len(running), most // 2)]
    kept = {line.number for line in [*wrong, *running[: most - len(wrong)]]}
    return [line for line in lines if line.number in kept]


def left_out(lines: Iterable[Line], shown: Sequence[Line]) -> str | None:
    """What the lines that are not shown are; None where all are."""
    numbers = {line.number for line in shown}
    rest = [line.state for line in lines if line.number not in numbers]
    parts = [f"{rest.count(state)} {state.lower()}" for state in ORDER if state in rest]
    return f"and {', '.join(parts)}" if parts else None
