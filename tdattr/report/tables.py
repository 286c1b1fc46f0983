"""The overview of leave-k-out: one row per method and measure, pooled over seeds (MUCS Tables 1, 5, 6 and 7)."""

from typing import Any

from rich import box
from rich.table import Table

from tdattr.metrics.comparison import FEW_MARK, MARK, NO_CHANGE_MARK, compare, explain, show_change
from tdattr.report.collect import Experiment
from tdattr.report.pooling import mean_or_none, p_value_against, pool
from tdattr.report.sheet import Number, as_text

HEADINGS = {
    "method": "method",
    "measure": "measure",
    "auc": "AUC",
    "p_value": "p",
    "change": "change, %",
    "control_auc": "control AUC",
    "overlap": "overlap, %",
    "removed": "removed",
    "seconds": "s per query",
    "seeds": "seeds",
}
PROTOCOL = "leave_k_out"
AUC_EXPLAINED = "AUC: how often a picture changes more without what is named than without random items; 0.5 is chance."
MAIN = ("method", "measure", "auc", "p_value", "change", "seconds", "seeds")


def make_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """The numbers of the table, one dictionary per method and measure; none of other protocols."""
    table: list[dict[str, Any]] = []
    if experiment.protocol != PROTOCOL:
        return table
    for measure in experiment.measures:
        having = {
            method: by_seed for method, by_seed in experiment.runs.items() if experiment.has_measure(method, measure)
        }
        values = {method: pool(experiment, method, measure, "attributed") for method in having}
        for method, by_seed in having.items():
            result = compare(*values[method])
            summaries = [run.summary for run in by_seed.values()]
            others = {
                f"p_against_{other}": p_value_against(experiment, method, other, measure)
                for other in having
                if other not in (method, "random") and method != "random"
            }
            control = pool(experiment, method, measure, "control")
            table.append(
                {
                    "method": method,
                    "measure": measure,
                    "auc": result.auc,
                    "p_value": result.p_value,
                    "difference_percent": result.difference_percent,
                    "ci95": result.ci95,
                    "small_median": result.small_median,
                    "queries": result.queries,
                    "marks": "" if experiment.base(method) == "random" else result.marks,  # nothing is claimed for it
                    "control_auc": compare(*control, two_tailed=True).auc if len(control[0]) else None,
                    "overlap": mean_or_none(summary["overlap_percent"] for summary in summaries),
                    "removed": mean_or_none(summary["removed"] for summary in summaries),
                    "seconds": mean_or_none(summary["seconds_per_query"] for summary in summaries),
                    "seeds": len(by_seed),
                    **others,
                }
            )
    return table


def format_row(row: dict[str, Any]) -> list[str]:
    """A row as people read it."""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        row["method"],
        row["measure"],
        number(row["auc"], ".3f"),
        number(row["p_value"], ".2g") + FEW_MARK * (FEW_MARK in row["marks"]),
        show_change(row["difference_percent"], row["ci95"], row["small_median"])
        + NO_CHANGE_MARK * (NO_CHANGE_MARK in row["marks"]),
        number(row["control_auc"], ".3f"),
        number(row["overlap"], ".1f"),
        number(row["removed"], ".0f"),
        str(Number(row["seconds"], ".2f", below=0.01)),
        str(row["seeds"]),
    ]


def describe_marks(table: list[dict[str, Any]]) -> str | None:
    """The footnotes of a table, of those marks that its rows have."""
    changes = "".join(MARK for row in table if row["small_median"])
    return explain(changes + "".join(row["marks"] for row in table)) or None


def leave_ablations_out(experiment: Experiment, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that a terminal shows: those of ablations only where there are no others."""
    methods = experiment.unablated or list(experiment.runs)
    return [row for row in table if row["method"] in methods]


def render_table(rows: list[dict[str, Any]]) -> Table:
    """The main columns, for a terminal of 80 characters; the page and the CSV have all of them, and the ablations."""
    printed = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    shown = [list(HEADINGS).index(key) for key in MAIN]
    for index, heading in enumerate(HEADINGS[key] for key in MAIN):
        printed.add_column(heading, justify="left" if index < 2 else "right", overflow="fold")
    for row in rows:
        full = format_row(row)
        printed.add_row(*(as_text(full[index]) for index in shown))
    return printed
