"""What a few of an item's cells say of the mean over all of them, learned from items of which every cell is known.

The shifts of an item at different pairs go together, those at neighbouring noise levels most. Their covariance over the
pairs is estimated from the complete rows and shrunk towards a smooth prior; from it follow the order in which pairs
tell most, the weights of those that are known, and how far such an estimate is from the mean. The constants come from
where those of `tdattr.scoring.racing` do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

PRIOR_ROWS = 24  # how many complete rows the prior is worth
LEAST_ROWS = 6  # complete rows, below which the prior stands alone
SMOOTH_SHARE = 0.15  # of the prior's variance: what neighbouring levels share
SMOOTH_REACH = 0.15  # how far apart neighbours may be, of the range of levels
OWN_SHARE = 0.1  # of the prior's variance that a pair has for itself
NUGGET = 0.01  # of the mean variance, added to every pair's own
NEGLIGIBLE = 1e-9  # of the whole variance: a pair that has no more tells nothing new

Covariance = Float[np.ndarray, "pair pair"]


def smooth_prior(positions: Float[np.ndarray, " pair"]) -> Covariance:
    """A part that all pairs share, one that neighbours in level share and one of each pair's own; its trace is 1.
    ``positions``: of the pairs along the schedule, in [0, 1]."""
    distances = np.abs(positions[:, None] - positions)
    prior = 1 + SMOOTH_SHARE * np.exp(-distances / SMOOTH_REACH) + OWN_SHARE * np.eye(len(positions))
    return prior / np.trace(prior)


def estimate_covariance(complete: Float[np.ndarray, "row pair"], prior: Covariance) -> Covariance:
    """The covariance of an item's shifts over the pairs: that of the complete rows, shrunk towards the prior, which
    alone decides where there are few of them or they do not differ."""
    pairs = len(prior)
    covariance = pairs * prior
    if len(complete) >= LEAST_ROWS:
        seen = np.atleast_2d(np.cov(complete.T))
        if (size := np.trace(seen)) > 0:
            covariance = (len(complete) * seen + PRIOR_ROWS * size * prior) / (len(complete) + PRIOR_ROWS)
    return covariance + NUGGET * np.trace(covariance) / pairs * np.eye(pairs)


def order_pairs(covariance: Covariance, first: Int[np.ndarray, " known"]) -> Int[np.ndarray, " pair"]:
    """All pairs: those in ``first`` as they are, then always the one that leaves the least variance of the mean."""
    left, order = covariance.copy(), list(first)
    least = NEGLIGIBLE * np.trace(covariance) / len(covariance)
    for number in range(len(covariance)):
        if number >= len(order):
            gains = left.sum(1) ** 2 / np.maximum(np.diag(left), least)
            gains[order] = -1.0
            order.append(int(np.argmax(gains)))
        chosen = order[number]
        left -= np.outer(left[:, chosen], left[chosen]) / max(left[chosen, chosen], least)
    return np.array(order)


@dataclass(frozen=True)
class RowMean:
    """How to estimate the mean over all pairs from the first ones of an order. ``weights``: of their shifts;
    ``variance``: of what the mean then still is away from the estimate."""

    weights: Float[np.ndarray, " known"]
    variance: float


def estimators(covariance: Covariance, order: Int[np.ndarray, " pair"], counts: list[int]) -> list[RowMean]:
    """From the first ``counts`` pairs of the order, ascending; the last is all of them, from which nothing is left."""
    ordered = covariance[np.ix_(order, order)]
    shared = ordered.mean(1)  # covariance of each pair with the mean
    weights = [np.linalg.solve(ordered[:count, :count], shared[:count]) for count in counts[:-1]]
    left = [shared.mean() - shared[: len(weight)] @ weight for weight in weights]
    variances = np.maximum.accumulate(np.maximum([*left, 0.0], 0.0)[::-1])[::-1]  # knowing more is never worse
    weights.append(np.full(len(order), 1 / len(order)))
    return [RowMean(weight, float(variance)) for weight, variance in zip(weights, variances, strict=True)]
