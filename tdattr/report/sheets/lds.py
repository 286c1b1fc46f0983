"""The linear datamodeling score of every method."""

from tdattr.metrics.agreement import interval
from tdattr.report.collect import Experiment
from tdattr.report.methods import category, mean_or_none, sort_methods
from tdattr.report.sheet import Cell, Number, Sheet

PROTOCOLS: tuple[str, ...] = ("lds",)
RESAMPLES = 10_000


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in sort_methods(experiment, experiment.runs):
        runs = experiment.runs[method].values()
        values = experiment.pool_queries(method)["lds"].to_numpy()
        low, high = interval(values, RESAMPLES)
        rows.append(
            {
                "method": method,
                "categ.": category(experiment, method),
                "LDS": Number(float(values.mean())),
                "low": Number(low),
                "high": Number(high),
                "queries": Number(len(values), "d"),
                "seeds": Number(len(runs), "d"),
                "s per query": Number(mean_or_none(run.summary["seconds_per_query"] for run in runs), ".2f"),
            }
        )
    caption = (
        "Rank correlation, over models that were trained on random subsets, between what the scores predict of a "
        "query's loss and the loss itself: mean over the queries of all seeds, and its 95 % interval (percentile "
        f"bootstrap over these queries, {RESAMPLES} resamples). Where a method was run with several dampings, those of "
        "its best one for each seed."
    )
    return Sheet("lds", "Linear datamodeling score", caption, rows)
