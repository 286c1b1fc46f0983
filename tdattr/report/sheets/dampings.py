"""The linear datamodeling score by damping, for methods that were run with a grid of them."""

import math

from tdattr.report.collect import Experiment
from tdattr.report.methods import mean_or_none, sort_methods
from tdattr.report.sheet import Cell, Number, Sheet
from tdattr.scores import DAMPING_UNIT

PROTOCOLS: tuple[str, ...] = ("lds",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method and damping."""
    rows: list[dict[str, Cell]] = []
    for method in sort_methods(experiment, experiment.runs):
        summaries = [run.summary for run in experiment.runs[method].values()]
        grids = [summary["grid"] for summary in summaries if summary.get("damping_unit") == DAMPING_UNIT]
        for damping in sorted({entry["damping"] for grid in grids for entry in grid}):
            entries = [entry for grid in grids for entry in grid if entry["damping"] == damping]
            centre = mean_or_none(entry["mean"] for entry in entries)
            assert centre is not None
            # of a mean of independent means
            below = math.hypot(*(entry["mean"] - entry["low"] for entry in entries)) / len(entries)
            above = math.hypot(*(entry["high"] - entry["mean"] for entry in entries)) / len(entries)
            rows.append(
                {
                    "method": method,
                    "damping": Number(damping, "g"),
                    "LDS": Number(centre),
                    "low": Number(centre - below),
                    "high": Number(centre + above),
                    "seeds": Number(len(entries), "d"),
                }
            )
    if not rows:
        return None
    caption = (
        "Linear datamodeling score for every damping that was tried, with its 95 % interval over draws of subsets and "
        f"queries; mean over seeds. Dampings are in the {DAMPING_UNIT}. Runs from before they were are left out."
    )
    return Sheet("lds_damping", "Linear datamodeling score by damping", caption, rows)
