"""How much worse models without what is named do on the queries, for every method."""

from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment
from tdattr.report.methods import category, explain_footnotes, sort_methods
from tdattr.report.pooling import mean_or_none, pool_intervals
from tdattr.report.sheet import Cell, Number, Sheet

PROTOCOLS: tuple[str, ...] = ("removal_loss",)
AVERAGED = ("rise_percent", "random_rise_percent", "above_all_random", "removed")  # over seeds


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method."""
    rows: list[dict[str, Cell]] = []
    for method in sort_methods(experiment, experiment.runs):
        runs = experiment.runs[method].values()
        pooled = pool_intervals([run.summary["excess_percent"] for run in runs])
        queries = len(experiment.pool_queries(method))
        means = {key: mean_or_none(run.summary[key] for run in runs) for key in AVERAGED}
        rows.append(
            {
                "method": method,
                "categ.": category(experiment, method),
                "rise, %": Number(means["rise_percent"], "+.2f"),
                "random, %": Number(means["random_rise_percent"], "+.2f"),
                "difference": Number(pooled["mean"], "+.2f", footnote=mark_few(queries)),
                "low": Number(pooled["low"], "+.2f"),
                "high": Number(pooled["high"], "+.2f"),
                "above all": Number(means["above_all_random"], ".2f"),
                "removed": Number(means["removed"], ".0f"),
                "queries": Number(queries, "d"),
                "seeds": Number(len(runs), "d"),
            }
        )
    caption = (
        "By how many percent a query's loss rises under a model that was trained without what the method names, and "
        "under models without as many random items: means over queries and seeds, the difference with its 95 % "
        "interval over queries (percentile bootstrap), and the share of queries whose loss rises more than after any "
        f"random removal.{explain_footnotes(rows)}"
    )
    return Sheet("removal_losses", "Losses after the removal", caption, rows)
