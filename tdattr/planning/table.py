"""The table that ``plan=true`` prints: a row for each kind of artifact, counted once for all jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tdattr.costs import NO_WORK, Work
from tdattr.pipeline.train import RETRAINING, TRAINED
from tdattr.planning.graph import Entry, Graph
from tdattr.planning.seconds import EXPLAINED, FILES, UNKNOWN, Estimate, Estimates
from tdattr.wording import counted, noun

TITLES = {
    "dataset": "dataset",
    "latents": "latents",
    "prompts": "conditions of prompts",
    TRAINED: "training",
    "checkpoint": "weights",
    "generate": "images",
    "generate_batch": "images",
    "query_scores": "scores",
    "attribute": "scores",
    "losses": "losses of F1",
    "fisher": "Fisher information",
    "fisher_round": "Fisher information",
    "gradients": "gradients",
    "kernel": "kernel of gradients",
    "threshold": "share of the schedule",
    "unlearn": "unlearning",
    "elbo": "lower bounds",
    "query_losses": "losses of the queries",
    "features": "features",
    "moments": "moments of features",
    "classifier": "classifier",
    "health": "health check",
    "decoded": "decoded training items",
    "prompted_images": "images of styles and objects",
    "accuracy": "accuracies of unlearning",
    "evaluate": "verdict",
}  # of stages; those of one title are one row
HEADERS = ("", "artifacts", "there", "shared", "to build", "work", "time", "from", "disk")
TEXTS = (0, 5, 7)  # columns of text, which are aligned to the left
HOUR, MINUTE = 3600, 60
LONG_HOURS = 100  # from which no fraction of an hour is shown
THOUSAND = 1000
PREFIXES = ("", "k", "M", "G", "T", "P")
MOST, USUALLY = "≤ ", "≈ "  # before what is a bound, and what is usual where the work is one


@dataclass
class Row:
    """Artifacts of one kind, each once."""

    entries: list[Entry] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)  # of those that are to be built

    @property
    def missing(self) -> list[Entry]:
        """Those that are to be built."""
        return [entry for entry in self.entries if entry.missing]

    @property
    def known(self) -> list[Work]:
        """The work of those that declare it."""
        return [entry.cost.work for entry in self.missing if entry.cost is not None and entry.cost.work is not None]

    @property
    def work(self) -> Work:
        """All of it."""
        return sum(self.known, NO_WORK)

    @property
    def bound(self) -> str:
        """A sign before the time: whether it is a bound, or what a bounded work usually takes."""
        if not self.work.at_most:
            return ""
        usual = any(entry.cost is not None and entry.cost.usual is not None for entry in self.missing)
        return USUALLY if usual else MOST

    @property
    def declared(self) -> bool:
        """Whether all of it is known."""
        return len(self.known) == len(self.missing)

    @property
    def seconds(self) -> float:
        """The time of those of which it is known."""
        return sum(estimate.seconds or 0.0 for estimate in self.estimates)

    @property
    def timed(self) -> bool:
        """Whether the time of all is known."""
        return all(estimate.seconds is not None for estimate in self.estimates)


def show(graph: Graph, estimates: Estimates) -> list[str]:
    """The lines of the table, and below it the totals and what the times come from."""
    sections: dict[str, dict[str, Row]] = {}
    for entry in graph:
        row = sections.setdefault(name_section(entry), {}).setdefault(name_row(entry), Row())
        row.entries.append(entry)
        if entry.missing:
            row.estimates.append(estimates.estimate(entry))
    rows: list[Sequence[str]] = [HEADERS]
    for section, by_name in sections.items():
        if len(sections) > 1:
            rows += [("",) * len(HEADERS), (section, *[""] * (len(HEADERS) - 1))]
        indent = "  " if len(sections) > 1 else ""
        rows += [show_row(indent + name, row) for name, row in by_name.items()]
        if len(sections) > 1:
            rows.append(show_row("  together", join(by_name.values())))
    everything = join(row for by_name in sections.values() for row in by_name.values())
    return [*align(rows), "", *sum_up(everything, graph.jobs), *explain(everything)]


def name_section(entry: Entry) -> str:
    """The dataset and the model of an artifact."""
    return f"{entry.ws.dataset.name}, {entry.ws.cfg.model.name}"


def name_row(entry: Entry) -> str:
    """What an artifact is, for people."""
    what = "" if entry.cost is None else entry.cost.what
    if entry.plan.stage == TRAINED:
        return what if what == RETRAINING else f"training of {what}"
    title = TITLES.get(entry.plan.stage, entry.plan.stage)
    return f"{title}, {what}" if what and entry.plan.stage not in ("dataset",) else title


def join(rows: Iterable[Row]) -> Row:
    """All of several rows."""
    found = Row()
    for row in rows:
        found.entries += row.entries
        found.estimates += row.estimates
    return found


def show_row(name: str, row: Row) -> Sequence[str]:
    """The cells of a row."""
    missing, there = len(row.missing), sum(entry.finished for entry in row.entries)
    counts = [len(row.entries), there, sum(entry.shared for entry in row.entries), missing]
    texts = [str(count) if count else "-" for count in counts]
    if not missing:
        return (name, *texts, "", "", "", "")
    sources = dict.fromkeys(estimate.source for estimate in row.estimates)
    if len(sources) > 1:
        sources.pop(FILES, None)  # beside which that takes no time
    time = row.bound + show_seconds(row.seconds)
    if not row.timed:
        time = f"{time} + ?" if row.seconds else "?"
    return (name, *texts, show_work(row), time, ", ".join(sources), show_disk(row))


def show_disk(row: Row) -> str:
    """What is left on the disk, as far as it is known."""
    known = show_bytes(row.work.bytes)
    if row.declared and not row.work.unsized:
        return known
    return f"{known} + ?" if row.work.bytes else "?"


def show_work(row: Row) -> str:
    """The work of a row, in units."""
    work = row.work
    if not row.declared:
        return UNKNOWN
    passes = work.trained + work.gradients
    parts = [
        f"{show_count(count)} {noun(count, unit)}"
        for count, unit in ((work.steps, "step"), (passes, "gradient"), (work.evaluations, "evaluation"))
        if count
    ]
    return (MOST if work.at_most else "") + ", ".join(parts) if parts else ""


def sum_up(row: Row, jobs: int) -> list[str]:
    """The sentences with the totals."""
    work, missing = row.work, row.missing
    many = counted(jobs, "job")
    there = sum(entry.finished for entry in row.entries)
    if not missing:
        return [f"{many}: everything is there, {counted(there, 'artifact')}; 0 s are left."]
    bound = " at most" if work.at_most else ""
    sign = {"": "", MOST: "at most ", USUALLY: "about "}[row.bound]
    unknown = "" if row.timed and row.declared else ", and what is unknown"
    totals = [(work.trainings, "training", ""), (work.steps, "step", bound), (work.images, "image", "")]
    return [
        f"{many}: {counted(len(missing), 'artifact')} to build, {there} {'is' if there == 1 else 'are'} there.",
        f"{', '.join(f'{show_count(count)} {noun(count, unit)}{more}' for count, unit, more in totals)}.",
        f"Time on one device: {sign}{show_seconds(row.seconds)}{unknown}. Disk: {show_disk(row)}.",
    ]


def explain(row: Row) -> list[str]:
    """Where the times come from, as far as the table names it."""
    used = {estimate.source for estimate in row.estimates}
    return [f"  {name}: {text}" for name, text in EXPLAINED.items() if name in used]


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with columns of one width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    return [
        "  ".join(
            cell.ljust(width) if column in TEXTS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def show_seconds(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds >= HOUR * LONG_HOURS:
        return f"{seconds / HOUR:,.0f} h"
    if seconds >= HOUR:
        return f"{seconds / HOUR:.1f} h"
    if seconds >= MINUTE:
        return f"{seconds / MINUTE:.1f} min"
    return f"{seconds:.1f} s" if seconds else "0 s"


def show_count(count: float) -> str:
    """A number with three digits and a prefix: 1.2 M."""
    for prefix in PREFIXES:
        if count < THOUSAND or prefix == PREFIXES[-1]:
            return f"{count:.3g} {prefix}".rstrip() if prefix else f"{count:g}"
        count /= THOUSAND
    raise AssertionError


def show_bytes(count: int) -> str:
    """A size on the disk."""
    return f"{show_count(count)}B" if count >= THOUSAND else f"{count} B"
