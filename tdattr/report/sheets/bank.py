"""What every method reaches by a bank."""

from tdattr.metrics.comparison import mark_few
from tdattr.protocols.leaderboard import CEILING, HEADINGS, OWN, SECONDS, order, sort
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("bank",)
KNOWN = "from the bank"
ENDS = ("low", "high")
ASIDE = tuple(f"{heading} {end}" for heading in HEADINGS.values() for end in ENDS)


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method, the best first: every measure with its interval."""
    rows: list[dict[str, Cell]] = []
    ceilings: dict[str, float | None] = {}
    for method in sort_methods(experiment, experiment.runs):
        *_, run = experiment.runs[method].values()  # a bank is of one seed
        measured = run.summary["bank"]
        row: dict[str, Cell] = {"method": method}
        for name, heading in HEADINGS.items():
            values = measured.get(name, {})
            row[heading] = Number(values.get("mean"), footnote=mark_few(run.summary["num_queries"]) if values else None)
            row |= {f"{heading} {end}": Number(values.get(end)) for end in ENDS}
            if values:
                ceilings[heading] = values["ceiling"]
        rows.append(row | {"s per query": Number(run.summary["seconds_per_query"], ".2f", below=0.01)})
    blank: dict[str, Cell] = dict.fromkeys(rows[0], NOTHING)
    rows += [blank | row for row in list_known(experiment)]
    rows.append(blank | {"method": CEILING} | {heading: Number(value) for heading, value in ceilings.items()})
    rows = sort_rows(rows, order(HEADINGS.values(), ceilings))
    caption = (
        "LDS: rank correlation, over models that were trained on random 50 or 95 % of the items, between what the "
        "scores predict of a query's loss and the loss itself. LOGO: agreement with retraining without each group. "
        "Truth: with what a query is composed of. Low and high: the ends of 95 % intervals, over queries and, of the "
        "LDS of what was run here, also over models. The row retraining is how well retraining under other seeds "
        "agrees with itself (of truth: with its ties broken at random), which scores without noise may pass. "
        f"{KNOWN}: not run here, as the bank has it."
        f"{explain_footnotes(rows)}"
    )
    return Sheet("bank", "Leaderboard of the bank", caption, drop_empty_columns(rows), aside=ASIDE)


def list_known(experiment: Experiment) -> list[dict[str, Cell]]:
    """A row for each method that the bank knows and that was not run here, as the last run's ranking has it."""
    *_, run = (run for runs in experiment.runs.values() for run in runs.values())
    rows: list[dict[str, Cell]] = []
    for known in run.summary["ranking"]:
        if known["method"] not in (CEILING, OWN, *experiment.runs):
            row: dict[str, Cell] = {"method": f"{known['method']} ({KNOWN})"}
            for name, heading in HEADINGS.items():
                row[heading] = Number(known.get(name))
                row |= {f"{heading} {end}": Number(known.get(f"{name}_{end}")) for end in ENDS}
            rows.append(row | {"s per query": Number(known[SECONDS], ".2f", below=0.01)})
    return rows


def sort_rows(rows: list[dict[str, Cell]], headings: list[str]) -> list[dict[str, Cell]]:
    """The best first by the first of the measures, then by the next."""
    values = [{heading: read_value(row[heading]) for heading in headings} | {"row": row} for row in rows]
    return [each["row"] for each in sort(values, headings)]


def read_value(cell: Cell) -> float | None:
    """The number in a cell; None where it holds none."""
    return cell.value if isinstance(cell, Number) else None
