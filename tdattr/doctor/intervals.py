"""Intervals of means and of their differences, when items are drawn again."""

import numpy as np
from jaxtyping import Float

from tdattr.metrics.rank_correlation import CONFIDENCE

RESAMPLES = 2000


def mean_interval(values: Float[np.ndarray, " item"]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean."""
    return percentiles(resample(values, np.random.default_rng(0)))


def difference_interval(first: Float[np.ndarray, " item"], second: Float[np.ndarray, " other"]) -> tuple[float, float]:
    """That of the difference of two means, the second minus the first, both drawn again by themselves."""
    rng = np.random.default_rng(0)
    return percentiles(resample(second, rng) - resample(first, rng))


def resample(values: Float[np.ndarray, " item"], rng: np.random.Generator) -> Float[np.ndarray, " resample"]:
    """The means of as many values that are drawn with replacement."""
    return values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)


def percentiles(means: Float[np.ndarray, " resample"]) -> tuple[float, float]:
    """The ends of the interval."""
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
