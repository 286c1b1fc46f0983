"""How far every method ranks groups as retraining without them does, or as the truth does."""

from collections.abc import Iterable
from typing import Any

from tdattr.metrics.agreement import MEASURES, estimate, share_of_ceiling, sign_flip_p_value
from tdattr.metrics.comparison import mark_few
from tdattr.report.collect import Experiment, Run
from tdattr.report.methods import explain_footnotes, is_gold, sort_methods
from tdattr.report.pooling import mean_or_none
from tdattr.report.sheet import NOTHING, Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("logo", "truth")
SHOWN = ("top_1", "ndcg_3", "spearman")  # of the measures in a terminal
RESAMPLES = 2000  # where a config does not say how many
MAIN = "spearman"  # by which the best is tested against the next
CEILING = {"logo": "LOGO under other seeds", "truth": "the truth, its ties broken at random"}


def measure_agreement(
    experiment: Experiment, methods: Iterable[str], measures: Iterable[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """method -> measure -> ``mean`` over the queries of all seeds, ``low`` and ``high`` of its 95 % interval, None for
    a single query, and, where all its runs have it, the ``ceiling``: gold's agreement with itself."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    resamples = experiment.config["protocol"].get("resamples", RESAMPLES)  # the interval of a seed is the run's own
    for method in methods:
        runs = experiment.runs[method].values()
        table = experiment.pool_queries(method)
        result[method] = {}
        for measure in measures:
            values = estimate(table[measure].to_numpy(), resamples)
            ceiling = mean_or_none(run.summary["agreement"][measure].get("ceiling") for run in runs)
            result[method][measure] = values | ({} if ceiling is None else {"ceiling": ceiling})
    return result


def make_sheet(experiment: Experiment) -> Sheet:
    """A row per method; the best one by Spearman is marked where it is better than the next at p < 0.01."""
    methods = sort_methods(experiment, experiment.runs)
    values = measure_agreement(experiment, methods, MEASURES)
    better = find_best(experiment, [name for name in methods if not is_gold(experiment, name)])
    rows: list[dict[str, Cell]] = []
    for method, measured in values.items():
        runs = experiment.runs[method].values()
        queries = len(experiment.pool_queries(method))
        row: dict[str, Cell] = {"method": method}
        for measure in MEASURES:
            marked = method == better if measure == MAIN else None  # None: not tested
            row[measure] = Number(measured[measure]["mean"], marked=marked, footnote=mark_few(queries))
        row |= {"low": Number(measured[MAIN]["low"]), "high": Number(measured[MAIN]["high"])}
        for name, measure in (("of ceiling", MAIN), ("top_1 of ceiling", "top_1")):
            share = share_of_ceiling(measure, measured[measure]["mean"], measured[measure].get("ceiling"))
            row[name] = Number(share, ".2f")
        row |= {
            "steps": Number(training_steps(runs), ".0f"),
            "queries": Number(queries, "d"),
            "s/query": Number(mean_or_none(run.summary["seconds_per_query"] for run in runs), ".2f", below=0.01),
        }
        rows.append(row)
    ceilings = [measured for measured in values.values() if "ceiling" in measured[MAIN]]
    if ceilings:
        itself: dict[str, Cell] = {
            measure: Number(mean_or_none(measured[measure]["ceiling"] for measured in ceilings)) for measure in MEASURES
        }
        blank: dict[str, Cell] = dict.fromkeys(rows[0], NOTHING)
        rows.append(blank | {"method": CEILING[experiment.protocol]} | itself)
    what = "retraining without each group" if experiment.protocol == "logo" else "what each query is composed of"
    caption = (
        f"Agreement of the scores of groups with {what}: means over the queries of all seeds; low and high: the 95 % "
        f"interval of {MAIN}. *: better by {MAIN} than the next best, p < 0.01 (paired sign-flip test over queries). "
        f"Of ceiling: {MAIN} as a share of what is in the last line, where that was computed. "
        f"Steps: of training or unlearning, all groups together.{explain_footnotes(rows)}"
    )
    aside = ("low", "high", "top_1 of ceiling", "queries", *(name for name in MEASURES if name not in SHOWN))
    return Sheet("groups", "Agreement on groups", caption, drop_empty_columns(rows), aside=aside)


def training_steps(runs: Iterable[Run]) -> float | None:
    """What the scores of all groups took, a mean over runs; None for methods that train no model of a group."""
    return mean_or_none(run.summary.get("facts", {}).get("training_steps") for run in runs)


def find_best(experiment: Experiment, methods: list[str]) -> str | None:
    """The best method, where it is better than the next one beyond doubt and was run with the same seeds."""
    queries = {name: experiment.pool_queries(name)[MAIN].to_numpy() for name in methods}
    best, *rest = sorted(methods, key=lambda name: -queries[name].mean()) or [""]
    if not rest or experiment.runs[best].keys() != experiment.runs[rest[0]].keys():
        return None
    return best if sign_flip_p_value(queries[best], queries[rest[0]]) < 0.01 else None
