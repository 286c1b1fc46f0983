"""The interval of a difference of means, when the items of both are drawn again."""

import numpy as np
from jaxtyping import Float

from tdattr.metrics.rank_correlation import CONFIDENCE

RESAMPLES = 2000


def difference_interval(first: Float[np.ndarray, " item"], second: Float[np.ndarray, " other"]) -> tuple[float, float]:
    """The 95 % percentile interval of the second mean minus the first, both drawn again by themselves."""
    rng = np.random.default_rng(0)
    differences = resample(second, rng) - resample(first, rng)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resample(values: Float[np.ndarray, " item"], rng: np.random.Generator) -> Float[np.ndarray, " resample"]:
    """The means of as many values that are drawn with replacement."""
    return values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
