"""Table 7 of the MUCS paper: how much of what a method names for one query it names for another."""

from tdattr.report.collect import Experiment
from tdattr.report.methods import credit_paper, list_methods
from tdattr.report.papers import DATASETS, read_number
from tdattr.report.pooling import mean_or_none, spread_or_none
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in list_methods(experiment, random=True):
        summaries = [run.summary for run in experiment.runs[method].values()]
        spread = spread_or_none(summary["overlap_ci95"] for summary in summaries)  # each over as many pairs of queries
        overlap = Number(mean_or_none(summary["overlap_percent"] for summary in summaries), ".1f", spread)
        row: dict[str, Cell] = {"method": method, "overlap, %": overlap, "seeds": Number(len(summaries), "d")}
        if experiment.dataset in DATASETS:
            row["paper"] = read_number("table_7", ".1f", dataset=experiment.dataset, method=experiment.base(method))
        rows.append(row)
    if not rows:
        return None
    caption = (
        "Share of the top-k items that two queries have in common, in percent ± its 95 % interval: mean over all pairs "
        "of queries of a seed, pooled over seeds."
    ) + credit_paper(rows, "Table 7")
    return Sheet("table_7", "Table 7: overlap between queries, %", caption, drop_empty_columns(rows), printed=False)
