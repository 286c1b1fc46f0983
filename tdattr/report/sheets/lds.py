"""The linear datamodeling score of every method."""

from collections.abc import Collection

from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment, Run
from tdattr.report.methods import category, explain_footnotes, sort_methods
from tdattr.report.pooling import mean_or_none, pool_intervals
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

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
                "of ceiling": Number(share_of_ceiling(runs), ".2f"),
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
        "(percentile bootstrap). Of ceiling: as a share of what the losses under as many other seeds would reach, "
        "where subsets were trained on more than once. Where a method was run with several dampings, those of its "
        "best one for each seed."
        f"{explain_footnotes(rows)}"
    )
    return Sheet("lds", "Linear datamodeling score", caption, drop_empty_columns(rows))


def share_of_ceiling(runs: Collection[Run]) -> float | None:
    """The mean over runs as a share of the mean ceiling; None where a run has none, or it is 0."""
    found = [run.summary["lds"] for run in runs]
    ceilings = [values.get("ceiling") for values in found]
    if any(not ceiling for ceiling in ceilings):  # None, or nothing to reach
        return None
    return sum(values["mean"] for values in found) / sum(ceilings)
