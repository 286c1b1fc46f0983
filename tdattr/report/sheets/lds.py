"""The linear datamodeling score of every method."""

from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment
from tdattr.report.methods import category, explain_footnotes, sort_methods
from tdattr.report.pooling import mean_or_none, pool_intervals
from tdattr.report.sheet import Cell, Number, Sheet

PROTOCOLS: tuple[str, ...] = ("lds",)


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in sort_methods(experiment, experiment.runs):
        runs = experiment.runs[method].values()
        pooled = pool_intervals([run.summary["lds"] for run in runs])
        queries = len(experiment.pool_queries(method))
        rows.append(
            {
                "method": method,
                "categ.": category(experiment, method),
                "LDS": Number(pooled["mean"], footnote=mark_few(queries)),
                "low": Number(pooled["low"]),
                "high": Number(pooled["high"]),
                "queries": Number(queries, "d"),
                "seeds": Number(len(runs), "d"),
                "s per query": Number(
                    mean_or_none(run.summary["seconds_per_query"] for run in runs), ".2f", below=0.01
                ),
            }
        )
    caption = (
        "Rank correlation, over models that were trained on random subsets, between what the scores predict of a "
        "query's loss and the loss itself: mean over seeds, and its 95 % interval over draws of subsets and queries "
        "(percentile bootstrap). Where a method was run with several dampings, those of its best one for each seed."
        f"{explain_footnotes(rows)}"
    )
    return Sheet("lds", "Linear datamodeling score", caption, rows)
