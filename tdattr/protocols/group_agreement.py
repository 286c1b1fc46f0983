"""What the protocols that judge scores of groups share: a gold matrix, every measure of agreement, intervals."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tdattr.metrics.aggregation import AggregateConfig, aggregated
from tdattr.metrics.agreement import agreement, interval, share_of_ceiling
from tdattr.protocols import Scores, Verdict

SHOWN = ("top_1", "spearman", "ndcg_3")


def of_groups(
    scores: Scores, groups: dict[str, Int[np.ndarray, " id"]], aggregate: AggregateConfig
) -> Float[np.ndarray, "query group"]:
    """Scores of groups as they are, scores of items aggregated."""
    if scores.groups is not None:
        assert scores.groups == list(groups)
        return scores.values.double().numpy()
    return aggregated(scores.values, scores.ids, groups, aggregate).numpy()


def judged(
    gold: Float[np.ndarray, "query group"],
    scores: Float[np.ndarray, "query group"],
    names: list[str],
    resamples: int,
    ceiling: Float[np.ndarray, "query group"] | None = None,
) -> Verdict:
    """Every measure of agreement: mean over queries, interval, and, with ``ceiling``, a second gold matrix, its own
    agreement with the first and what share of that the scores reach."""
    found = agreement(gold, scores)
    summary: dict[str, dict[str, float]] = {}
    for measure, values in found.items():
        low, high = interval(values, resamples)
        summary[measure] = {"mean": float(values.mean()), "low": low, "high": high}
    if ceiling is not None:
        for measure, values in agreement(gold, ceiling).items():
            top = float(values.mean())
            summary[measure]["ceiling"] = top
            fraction = share_of_ceiling(measure, summary[measure]["mean"], top)
            if fraction is not None:
                summary[measure]["fraction"] = fraction
    table: list[dict[str, Any]] = [
        {"query": query, "gold": names[gold[query].argmax()], "named": names[scores[query].argmax()]}
        | {measure: float(values[query]) for measure, values in found.items()}
        for query in range(len(gold))
    ]
    lines = [", ".join(line(measure, summary[measure]) for measure in SHOWN)]
    return Verdict({"agreement": summary, "groups": len(names)}, table, lines=lines)


def line(measure: str, values: dict[str, float]) -> str:
    """A measure as people read it."""
    text = f"{measure} {values['mean']:.3f} ({values['low']:.3f} to {values['high']:.3f})"
    return text + (f" of {values['ceiling']:.3f}" if "ceiling" in values else "")
