"""What the protocols that judge scores of groups share: a gold matrix, every measure of agreement, intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tdattr.metrics.aggregation import AggregateConfig, aggregate
from tdattr.metrics.agreement import agreement, estimate, share_of_ceiling, shared_fit
from tdattr.protocols import Verdict, name_interval
from tdattr.scores import Scores
from tdattr.wording import tell_interval

SHOWN = ("top_1", "spearman", "ndcg_3")
TIED = "(tie)"  # in place of the name of a first group


def aggregate_scores(
    scores: Scores, groups: dict[str, Int[np.ndarray, " _id"]], config: AggregateConfig
) -> Float[np.ndarray, "query group"]:
    """Scores of groups as they are, scores of items aggregated; no finer than their float32, beyond which the order of
    a sum would break ties."""
    if scores.groups is not None:
        if scores.groups != list(groups):
            raise ValueError(f"scores of the groups {scores.groups} cannot be judged by {list(groups)}")
        return scores.values.double().numpy()
    return aggregate(scores.values, scores.ids, groups, config).float().double().numpy()


def judge(
    gold: Float[np.ndarray, "query group"],
    scores: Float[np.ndarray, "query group"],
    names: list[str],
    resamples: int,
    ceilings: Sequence[Float[np.ndarray, "query group"]] = (),
) -> Verdict:
    """Every measure of agreement: mean over queries, interval, and, with ``ceilings``, other matrices that are as good
    as gold, their mean agreement with it and what share of that the scores reach. ``shared_fit``: gold as an affine
    function of the scores, by which ``mse_shared_fit`` and ``mae_shared_fit`` go."""
    by_measure = agreement(gold, scores)
    summary = {measure: estimate(values, resamples) for measure, values in by_measure.items()}
    if ceilings:
        reached = [agreement(gold, ceiling) for ceiling in ceilings]
        for measure in summary:
            top = float(np.mean([values[measure].mean() for values in reached]))
            summary[measure]["ceiling"] = top
            fraction = share_of_ceiling(measure, summary[measure]["mean"], top)
            if fraction is not None:
                summary[measure]["fraction"] = fraction
    table: list[dict[str, Any]] = [
        {"query": query, "gold": name_first(gold[query], names), "named": name_first(scores[query], names)}
        | {measure: float(values[query]) for measure, values in by_measure.items()}
        for query in range(len(gold))
    ]
    lines = [", ".join(line(measure, summary[measure]) for measure in SHOWN)]
    slope, offset = shared_fit(gold, scores)
    found = {"agreement": summary, "shared_fit": {"slope": slope, "offset": offset}, "groups": len(names)}
    return Verdict(found, table, f"{len(names)} groups", lines=lines)


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """The measures that people are shown."""
    named = [name_interval(measure, summary["agreement"][measure]) for measure in SHOWN]
    return {name: value for values in named for name, value in values.items()}


def name_first(scores: Float[np.ndarray, " group"], names: list[str]) -> str:
    """The group with the highest score; ``TIED`` where several have it."""
    best = np.flatnonzero(scores == scores.max())
    return names[best[0]] if len(best) == 1 else TIED


def line(measure: str, values: Mapping[str, Any]) -> str:
    """A measure as people read it."""
    text = f"{measure} {values['mean']:.3f} ({tell_interval(values['low'], values['high'])})"
    return text + (f" of {values['ceiling']:.3f}" if "ceiling" in values else "")
