"""The Fréchet distance between two sets of vectors; FID where they are Inception's (Heusel et al. 2017, eq. 6)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of vectors, in double precision."""

    mean: Float[np.ndarray, " feature"]
    covariance: Float[np.ndarray, "feature feature"]


def moments(batches: Iterable[Float[Tensor, "_batch feature"]]) -> Moments:
    """The moments of vectors that come batch by batch. Raises ValueError for fewer than two vectors.

    Sums are taken of differences from the first batch's mean, so that large means cost no precision.
    """
    count, shift, total, products = 0, None, None, None
    for batch in batches:
        values = batch.double().numpy()
        shift = values.mean(0) if shift is None else shift
        values = values - shift
        count += len(values)
        total = values.sum(0) + (0 if total is None else total)
        products = values.T @ values + (0 if products is None else products)
    if shift is None or total is None or products is None or count < 2:
        raise ValueError(f"a covariance needs at least two vectors, not {count}")
    return Moments(shift + total / count, (products - np.outer(total, total) / count) / (count - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½)."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first_stats, second_stats = ({"mu": part.mean, "sigma": part.covariance} for part in (first, second))
    return float(fid_statistics_to_metric(first_stats, second_stats, verbose=False)[KEY_METRIC_FID])
