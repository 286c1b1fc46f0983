"""The end of a sweep: what is not done and why, and the figures of what is, pooled over seeds as in the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.jobs import join_names
from tdattr.sweeps.earlier import SUMMARY, Earlier, read_earlier
from tdattr.sweeps.lines import count, label_jobs, shorten
from tdattr.sweeps.record import SWEEP, SweepJob, read_sweep
from tdattr.sweeps.states import ENDS_BADLY, SweepState, explain, log_of, read_states

MOST_NAMED = 20  # reasons why jobs are not done; jobs that were done earlier


def show_outcome(folder: Path) -> SweepState | None:
    """Print what has become of the jobs of the sweep in a folder, and the tables of those that are done, now or
    earlier. Gives how they are; None where all were done earlier."""
    from tdattr.report.command import Terminal
    from tdattr.report.sheet import as_text

    console = Terminal()
    earlier = read_earlier(folder)
    sweep = read_states(read_sweep(folder)) if (folder / SWEEP).exists() else None  # all jobs were done earlier
    for line in [*(tell_failures(sweep) if sweep is not None else []), *tell_earlier(earlier)]:
        console.print(as_text(line), soft_wrap=True)
    done = [folder / job.job.folder for job in sweep.jobs if job.state == "DONE"] if sweep is not None else []
    folders = [place for place in [*done, *(Path(job.folder) for job in earlier)] if (place / SUMMARY).exists()]
    if folders:
        show_tables(console, folders)
    counted = [count(sweep)] if sweep is not None else []
    counted += [f"{len(earlier)} done earlier"] if earlier else []
    console.print(as_text(f"Sweep: {shorten(folder)} ({', '.join(counted)})"), soft_wrap=True)
    return sweep


def show_tables(console: Any, folders: list[Path]) -> None:
    """Print the report's tables of some runs, or why there are none; ``console`` is the report's."""
    from tdattr.report.command import show_experiment
    from tdattr.report.readable import make_readable
    from tdattr.report.sheet import as_text

    try:
        _, made = make_readable(folders)
    except UserError as error:  # of runs whose artifacts are gone
        console.print(as_text(str(error)), soft_wrap=True)
        return
    for experiment, rows, sheets in made:
        show_experiment(console, experiment, rows, sheets)


def tell_failures(sweep: SweepState) -> list[str]:
    """A line for each reason why jobs are not done, with the first of them and its log, another for those that share
    it, and how many more there are."""
    labels = label_jobs(sweep.sweep.jobs)
    alike: dict[tuple[str, str], list[SweepJob]] = {}
    for job in sweep.jobs:
        if job.state in ENDS_BADLY:
            alike.setdefault((job.state, explain(job)), []).append(job.job)
    lines = []
    for (state, reason), (first, *others) in list(alike.items())[:MOST_NAMED]:
        label = f" ({labels[first.number]})" if labels[first.number] else ""
        log = log_of(sweep.sweep, first)
        place = f" Its log: {shorten(log)}" if log.exists() else ""
        lines.append(f"Job #{first.number}{label} {state}: {reason}{place}")
        if others:
            lines.append(f"The same goes for {join_names([f'#{job.number}' for job in others])}.")
    rest = sum(map(len, list(alike.values())[MOST_NAMED:]))
    return [*lines, f"… and {rest} more: tdattr-sweep status shows them."] if rest > 0 else lines


def tell_earlier(earlier: Sequence[Earlier]) -> list[str]:
    """Where the runs are that were done before."""
    lines = [f"Done earlier: {' '.join(job.overrides)} ({shorten(Path(job.folder))})" for job in earlier[:MOST_NAMED]]
    rest = len(earlier) - MOST_NAMED
    return [*lines, f"… and {rest} more that were done earlier."] if rest > 0 else lines
