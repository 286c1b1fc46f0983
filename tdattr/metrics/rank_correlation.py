"""Spearman's rank correlation of many columns at once, its bootstrap interval, and that of repeats with each other."""

from itertools import combinations

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95  # of the intervals
RESAMPLES_AT_ONCE = 200  # ranked together


def spearman(
    first: Float[np.ndarray, "... row column"], second: Float[np.ndarray, "... row column"]
) -> Float[np.ndarray, "... column"]:
    """Spearman's correlation over the rows, per column; ties share their mean rank. 0 where a column is constant."""
    from scipy.stats import rankdata  # takes a second to import

    ranks = [rankdata(values, axis=-2) for values in (first, second)]
    centred = [rank - rank.mean(-2, keepdims=True) for rank in ranks]
    lengths = np.sqrt((centred[0] ** 2).sum(-2) * (centred[1] ** 2).sum(-2))
    return (centred[0] * centred[1]).sum(-2) / np.where(lengths == 0, 1, lengths)


def bootstrap_mean(
    first: Float[np.ndarray, "row column"], second: Float[np.ndarray, "row column"], resamples: int
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean correlation when both rows and columns are drawn again, with
    replacement. The rows are shared by all columns, so that drawing the columns alone would understate it."""
    rng = np.random.default_rng(0)
    rows, columns = first.shape
    means: list[float] = []
    while len(means) < resamples:
        count = min(RESAMPLES_AT_ONCE, resamples - len(means))
        drawn = rng.integers(rows, size=(count, rows))
        correlations = spearman(first[drawn], second[drawn])
        columns_drawn = rng.integers(columns, size=(count, columns))
        means.extend(np.take_along_axis(correlations, columns_drawn, axis=1).mean(1).tolist())
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def repeat_ceiling(values: Float[np.ndarray, "row repeat column"]) -> float | None:
    """How well the mean over the repeats would agree with that of as many others, a mean over the columns: Spearman's
    correlation over the rows between two repeats, carried over to means of all by the formula of Spearman and Brown
    (1910). None where there is one repeat; 0 where repeats do not agree at all."""
    repeats = values.shape[1]
    if repeats < 2:
        return None
    pairs = [spearman(values[:, first], values[:, second]) for first, second in combinations(range(repeats), 2)]
    single = max(0.0, float(np.mean(pairs)))
    return repeats * single / (1 + (repeats - 1) * single)
