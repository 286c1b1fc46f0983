"""The linear datamodeling score by damping, for methods that were run with a grid of them."""

from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.pooling import pool_intervals
from tdattr.report.sheet import Cell, Number, Sheet
from tdattr.scores import DAMPING_UNIT

PROTOCOLS: tuple[str, ...] = ("lds",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method and damping."""
    rows: list[dict[str, Cell]] = []
    for method in sort_methods(experiment, experiment.runs):
        runs = [run for run in experiment.runs[method].values() if run.summary.get("damping_unit") == DAMPING_UNIT]
        tried = [(entry, len(run.per_query)) for run in runs for entry in run.summary["grid"]]
        for damping in sorted({entry["damping"] for entry, _ in tried}):
            entries = [entry for entry, _ in tried if entry["damping"] == damping]
            queries = sum(count for entry, count in tried if entry["damping"] == damping)
            pooled = pool_intervals(entries)
            rows.append(
                {
                    "method": method,
                    "damping": Number(damping, "g"),
                    "LDS": Number(pooled["mean"], footnote=mark_few(queries)),
                    "low": Number(pooled["low"]),
                    "high": Number(pooled["high"]),
                    "seeds": Number(len(entries), "d"),
                }
            )
    if not rows:
        return None
    caption = (
        "Linear datamodeling score for every damping that was tried, with its 95 % interval over draws of subsets and "
        f"queries; mean over seeds. Dampings are in the {DAMPING_UNIT}. Runs from before they were are left out."
        f"{explain_footnotes(rows)}"
    )
    return Sheet("lds_damping", "Linear datamodeling score by damping", caption, rows, printed=False)
