"""The linear datamodeling score of every method."""

import pandas as pd

from tdattr.metrics.agreement import interval
from tdattr.report.collect import Comparison
from tdattr.report.sheet import Cell, Number, Sheet
from tdattr.report.sheets.measured import category, mean, ordered

PROTOCOL = "lds"
RESAMPLES = 10_000


def table(comparison: Comparison) -> Sheet:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in ordered(comparison, comparison.runs):
        runs = comparison.runs[method].values()
        values = pd.concat([run.similarities() for run in runs])["lds"].to_numpy()
        low, high = interval(values, RESAMPLES)
        rows.append(
            {
                "method": method,
                "categ.": category(comparison, method),
                "LDS": Number(float(values.mean())),
                "low": Number(low),
                "high": Number(high),
                "queries": Number(len(values), "d"),
                "seeds": Number(len(runs), "d"),
                "s per query": Number(mean(run.summary["seconds_per_query"] for run in runs), ".2f"),
            }
        )
    caption = (
        "Rank correlation, over models that were trained on random subsets, between what the scores predict of a "
        "query's loss and the loss itself: mean over the queries of all seeds, and its 95 % interval (percentile "
        f"bootstrap over these queries, {RESAMPLES} resamples). Where a method was run with several dampings, those of "
        "its best one for each seed."
    )
    return Sheet("lds", "Linear datamodeling score", caption, rows)
