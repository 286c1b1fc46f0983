"""What every method reaches by a bank."""

from tdattr.metrics.comparison import mark_few
from tdattr.protocols.leaderboard import CEILING, HEADINGS, OWN, SECONDS, order, sort
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("bank",)
KNOWN = "from the bank"


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method, the best first: every measure, and the interval of the first that it has."""
    rows: list[dict[str, Cell]] = []
    ceilings: dict[str, float | None] = {}
    for method in sort_methods(experiment, experiment.runs):
        *_, run = experiment.runs[method].values()  # a bank is of one seed
        measured = run.summary["bank"]
        first = next(iter(measured.values()))
        row: dict[str, Cell] = {"method": method}
        for name, heading in HEADINGS.items():
            values = measured.get(name, {})
            row[heading] = Number(values.get("mean"), footnote=mark_few(run.summary["num_queries"]) if values else None)
            if values:
                ceilings[heading] = values["ceiling"]
        row |= {"low": Number(first["low"]), "high": Number(first["high"])}
        rows.append(row | {"s per query": Number(run.summary["seconds_per_query"], ".2f", below=0.01)})
    blank: dict[str, Cell] = dict.fromkeys(rows[0], NOTHING)
    rows += [blank | row for row in list_known(experiment)]
    rows.append(blank | {"method": CEILING} | {heading: Number(value) for heading, value in ceilings.items()})
    rows = sort_rows(rows, order(HEADINGS.values(), ceilings))
    caption = (
        "LDS: rank correlation, over models that were trained on random 50 or 95 % of the items, between what the "
        "scores predict of a query's loss and the loss itself. LOGO: agreement with retraining without each group. "
        "Truth: with what a query is composed of. Low and high: the 95 % interval of the first of these that a method "
        "has. The row retraining is how well retraining under other seeds agrees with itself (of truth: with its ties "
        f"broken at random), which scores without noise may pass. {KNOWN}: not run here, as the bank has it."
        f"{explain_footnotes(rows)}"
    )
    return Sheet("bank", "Leaderboard of the bank", caption, drop_empty_columns(rows), aside=("low", "high"))


def list_known(experiment: Experiment) -> list[dict[str, Cell]]:
    """A row for each method that the bank knows and that was not run here, as the last run's ranking has it."""
    *_, run = (run for runs in experiment.runs.values() for run in runs.values())
    rows: list[dict[str, Cell]] = []
    for known in run.summary["ranking"]:
        if known["method"] not in (CEILING, OWN, *experiment.runs):
            row: dict[str, Cell] = {HEADINGS[name]: Number(known[name]) for name in known if name in HEADINGS}
            row["method"] = f"{known['method']} ({KNOWN})"
            rows.append(row | {"s per query": Number(known[SECONDS], ".2f", below=0.01)})
    return rows


def sort_rows(rows: list[dict[str, Cell]], headings: list[str]) -> list[dict[str, Cell]]:
    """The best first by the first of the measures, then by the next."""
    values = [{heading: read_value(row[heading]) for heading in headings} | {"row": row} for row in rows]
    return [each["row"] for each in sort(values, headings)]


def read_value(cell: Cell) -> float | None:
    """The number in a cell; None where it holds none."""
    return cell.value if isinstance(cell, Number) else None
