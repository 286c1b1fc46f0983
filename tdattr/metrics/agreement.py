"""How well do a method's scores of groups agree with gold scores, and is one method nearer to gold than another?

Scores are [query, group], higher = more influential: see `tdattr.metrics.ranking`, which has the measures of ranks,
for ties and for what raises ValueError. Here are the measures of values, all measures by name, and tests over queries.

After "Agreement with LOGO" in GUDA (arXiv 2601.22651) and its two evaluation scripts (CIFAR-10, UnlearnCanvas).
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Float

from tdattr.metrics.rank_correlation import AT_ONCE, LEVEL, spearman
from tdattr.metrics.ranking import (
    Scores,
    Values,
    checked,
    kendall_tau,
    ndcg,
    pairwise,
    rank_biased_overlap,
    reciprocal_rank,
    top_overlap,
)

ENUMERATED = 12  # up to so many queries the paired test is exact
ROUNDING = 1e-12  # sums that differ by less, relative to the largest, are equal


def spearman_rho(gold: Scores, scores: Scores) -> Values:
    """Spearman's correlation, as SciPy's, in [-1, 1]; but 0 where gold or the scores are constant (SciPy: NaN)."""
    gold, scores = checked(gold, scores)
    return spearman(gold.T, scores.T)


def pearson_r(gold: Scores, scores: Scores) -> Values:
    """Pearson's correlation, in [-1, 1]; 0 where gold or the scores are constant. UnlearnCanvas's script."""
    gold, scores = (_scaled(values) for values in checked(gold, scores))
    lengths = np.sqrt((gold**2).sum(1) * (scores**2).sum(1))
    return np.clip((gold * scores).sum(1) / np.where(lengths == 0, 1, lengths), -1, 1)


def squared_error(gold: Scores, scores: Scores, shared: bool = False) -> Values:
    """The mean over groups of (gold - a · scores - b)², >= 0, with a and b by least squares.

    Fitted for each query, or with `shared` once for all queries given (UnlearnCanvas's script), whose values then
    depend on each other. a may be negative, so that reversed scores fit as well; 2 groups always fit when each query
    has its own a and b.
    """
    return (_residuals(gold, scores, shared) ** 2).mean(1)


def absolute_error(gold: Scores, scores: Scores, shared: bool = False) -> Values:
    """The mean over groups of |gold - a · scores - b|, >= 0, with the a and b of `squared_error`."""
    return np.abs(_residuals(gold, scores, shared)).mean(1)


MEASURES: dict[str, Callable[[Scores, Scores], Values]] = {
    "top_1": partial(top_overlap, n=1),
    "overlap_3": partial(top_overlap, n=3),
    "overlap_5": partial(top_overlap, n=5),
    "ndcg_3": partial(ndcg, n=3),
    "ndcg_5": partial(ndcg, n=5),
    "ndcg_10": partial(ndcg, n=10),
    "reciprocal_rank": reciprocal_rank,
    "pairwise_top_3": partial(pairwise, top=3),
    "pairwise_all": pairwise,
    "rbo": rank_biased_overlap,
    "spearman": spearman_rho,
    "kendall": kendall_tau,
    "mse": squared_error,
    "mae": absolute_error,
    # as in UnlearnCanvas's script
    "ndcg_linear_3": partial(ndcg, n=3, linear=True),
    "ndcg_linear_5": partial(ndcg, n=5, linear=True),
    "ndcg_linear_10": partial(ndcg, n=10, linear=True),
    "pairwise_top_5_untied": partial(pairwise, top=5, skip_ties=True),
    "pairwise_all_untied": partial(pairwise, skip_ties=True),
    "pearson": pearson_r,
    "mse_shared_fit": partial(squared_error, shared=True),
    "mae_shared_fit": partial(absolute_error, shared=True),
}
LOWER_IS_BETTER = frozenset({"mse", "mae", "mse_shared_fit", "mae_shared_fit"})


def share_of_ceiling(measure: str, value: float, ceiling: float | None) -> float | None:
    """value / ceiling; None where there is no ceiling above zero, or where less is better."""
    return value / ceiling if ceiling is not None and ceiling > 0 and measure not in LOWER_IS_BETTER else None


def agreement(gold: Scores, scores: Scores) -> dict[str, Values]:
    """All of MEASURES, by name: a value per query. ValueError as every measure."""
    gold, scores = checked(gold, scores)
    return {name: measure(gold, scores) for name, measure in MEASURES.items()}


def interval(values: Values, resamples: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean when the queries are drawn again, with replacement.

    Of the queries only: what the runs that made gold and scores would vary by, which all queries share, is not in it.
    ValueError for values that are empty, not one per query or not finite, and for resamples < 1.
    """
    values = _per_query(values)
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=(count, len(values)))].mean(1) for count in _batches(resamples)]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired(first: Values, second: Values, resamples: int = 10000, seed: int = 0) -> float:
    """The two-sided p-value, in (0, 1], of the mean difference of two methods on the same queries, by sign flips.

    Under the null a query's difference is as likely to have the other sign. All 2^n flips for up to 12 queries; else
    (1 + as extreme) / (1 + resamples) random ones. Queries count as independent: see `interval`. ValueError as there,
    and for different numbers of queries.
    """
    first, second = _per_query(first), _per_query(second)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} queries cannot be paired")
    differences = first - second
    count = len(differences)
    batches = _batches(resamples)
    extreme = abs(differences.sum()) - ROUNDING * np.abs(differences).sum()
    if count <= ENUMERATED:
        flips = np.array(list(product([-1.0, 1.0], repeat=count)))
        return float((np.abs(flips @ differences) >= extreme).mean())
    rng = np.random.default_rng(seed)
    at_least = sum(
        int((np.abs(rng.choice([-1.0, 1.0], size=(batch, count)) @ differences) >= extreme).sum()) for batch in batches
    )
    return (1 + at_least) / (1 + resamples)


def _centred(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row item"]:
    """Less the rows' means; via the first column, so that a large offset costs nothing and constant rows are all 0."""
    values = values - values[:, :1]
    return values - values.mean(1, keepdims=True)


def _scaled(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row item"]:
    """Centred, and at most 1, so that squares neither overflow nor vanish."""
    values = _centred(values)
    largest = np.abs(values).max(1, keepdims=True)
    return values / np.where(largest == 0, 1, largest)


def _residuals(gold: Scores, scores: Scores, shared: bool) -> Scores:
    """What an affine function of the scores leaves of gold."""
    gold, scores = checked(gold, scores)
    shape = gold.shape
    if shared:
        gold, scores = gold.reshape(1, -1), scores.reshape(1, -1)
    gold, scores = _centred(gold), _scaled(scores)
    squares = (scores**2).sum(1, keepdims=True)
    slopes = (gold * scores).sum(1, keepdims=True) / np.where(squares == 0, 1, squares)
    return (gold - slopes * scores).reshape(shape)


def _per_query(values: Values) -> Values:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"need finite values, one per query; the shape is {values.shape}")
    return values


def _batches(resamples: int) -> list[int]:
    if resamples < 1:
        raise ValueError(f"{resamples} resamples")
    return [min(AT_ONCE, resamples - start) for start in range(0, resamples, AT_ONCE)]
