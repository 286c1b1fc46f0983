"""Table 7 of the MUCS paper: how much of what a method names for one query it names for another."""

import math

from tdattr.report.collect import Comparison
from tdattr.report.papers import DATASETS, number
from tdattr.report.sheet import Cell, Number, Sheet, filled
from tdattr.report.sheets.measured import credit, listed, mean

PROTOCOL = "leave_k_out"


def table(comparison: Comparison) -> Sheet | None:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in listed(comparison, random=True):
        summaries = [run.summary for run in comparison.runs[method].values()]
        # of a mean of independent means, each over as many pairs of queries
        spread = math.hypot(*(summary["overlap_ci95"] for summary in summaries)) / len(summaries)
        overlap = Number(mean(summary["overlap_percent"] for summary in summaries), ".1f", spread)
        row: dict[str, Cell] = {"method": method, "overlap, %": overlap, "seeds": Number(len(summaries), "d")}
        if comparison.dataset in DATASETS:
            row["paper"] = number("table_7", ".1f", dataset=comparison.dataset, method=comparison.base(method))
        rows.append(row)
    if not rows:
        return None
    caption = (
        "Share of the top-k items that two queries have in common, in percent ± its 95 % interval: mean over all pairs "
        "of queries of a seed, pooled over seeds."
    ) + credit(rows, "Table 7")
    return Sheet("table_7", "Table 7: overlap between queries, %", caption, filled(rows), printed=False)
