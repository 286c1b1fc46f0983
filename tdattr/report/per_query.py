"""The table of a protocol that has none of its own: what its table of queries says, averaged."""

import numpy as np
import pandas as pd

from tdattr.metrics.agreement import estimate
from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment
from tdattr.report.methods import explain_footnotes, sort_methods
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet

RESAMPLES = 2000
INDEX = "query"  # the column that numbers the queries


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold numbers, but for the numbers of the queries."""
    return [name for name in table.select_dtypes("number").columns if name != INDEX]


def make_generic_sheet(experiment: Experiment) -> Sheet:
    """A row per method and numeric column of the protocol's table of queries."""
    rows: list[dict[str, Cell]] = []
    skipped: dict[str, None] = {}
    for method in sort_methods(experiment, experiment.runs):
        table = experiment.pool_queries(method)
        columns = numeric_columns(table)
        skipped |= dict.fromkeys(str(name) for name in table if name not in (*columns, INDEX))
        seeds = Number(len(experiment.runs[method]), "d")
        for column in columns:
            values = table[column].to_numpy(np.float64)
            values = values[np.isfinite(values)]
            numbers = estimate(values, RESAMPLES) if len(values) else dict.fromkeys(("mean", "low", "high"))
            rows.append(
                {
                    "method": method,
                    "quantity": column,
                    "mean": Number(numbers["mean"], ".4g", footnote=mark_few(len(values))),
                    "low": Number(numbers["low"], ".4g"),
                    "high": Number(numbers["high"], ".4g"),
                    "queries": Number(len(values), "d"),
                    "seeds": seeds,
                }
            )
        if not columns:
            blank: dict[str, Cell] = dict.fromkeys(("mean", "low", "high", "queries"), NOTHING)
            words: dict[str, Cell] = {"method": method, "quantity": "none: its table of queries has no numbers"}
            rows.append(words | blank | {"seeds": seeds})
    caption = (
        f"What protocol={experiment.protocol} says of each query: mean over the queries of all seeds, and its 95 % "
        f"interval (percentile bootstrap over these queries, {RESAMPLES} resamples)."
    )
    caption += explain_footnotes(rows)
    if skipped:
        caption += f" Not shown, as they hold no numbers: {', '.join(skipped)}."
    return Sheet("per_query", f"Means over queries, protocol={experiment.protocol}", caption, rows)
