"""How well do a method's scores of groups agree with gold scores, and is one method nearer to gold than another?

Scores are [query, group], higher = more influential: see `tdattr.metrics.ranking`, which has the measures of ranks,
for ties and for what raises ValueError. Here are the measures of values, all measures by name, and tests over queries.

After "Agreement with LOGO" in GUDA (arXiv 2601.22651) and its two evaluation scripts (CIFAR-10, UnlearnCanvas).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, permutation_test

from tdattr.metrics.rank_correlation import CONFIDENCE, RESAMPLES_AT_ONCE, spearman
from tdattr.metrics.ranking import (
    QueryValues,
    ScoreMatrix,
    check_scores,
    kendall_tau,
    ndcg,
    pairwise,
    rank_biased_overlap,
    reciprocal_rank,
    top_overlap,
)

MAX_EXACT_QUERIES = 12  # up to so many the paired test enumerates all sign flips
DECIMALS = 12  # to which sums of differences, relative to the largest possible sum, are compared


def spearman_rho(gold: ScoreMatrix, scores: ScoreMatrix) -> QueryValues:
    """Spearman's correlation, as SciPy's, in [-1, 1]; but 0 where gold or the scores are constant (SciPy: NaN)."""
    gold, scores = check_scores(gold, scores)
    return spearman(gold.T, scores.T)


def pearson_r(gold: ScoreMatrix, scores: ScoreMatrix) -> QueryValues:
    """Pearson's correlation, in [-1, 1]; 0 where gold or the scores are constant. UnlearnCanvas's script."""
    gold, scores = (_scale(values) for values in check_scores(gold, scores))
    lengths = np.sqrt((gold**2).sum(1) * (scores**2).sum(1))
    return np.clip((gold * scores).sum(1) / np.where(lengths == 0, 1, lengths), -1, 1)


def squared_error(gold: ScoreMatrix, scores: ScoreMatrix, shared: bool = False) -> QueryValues:
    """The mean over groups of (gold - a · scores - b)², >= 0, with a and b by least squares.

    Fitted for each query, or with `shared` once for all queries given (UnlearnCanvas's script), whose values then
    depend on each other. a may be negative, so that reversed scores fit as well; 2 groups always fit when each query
    has its own a and b.
    """
    return (_residuals(gold, scores, shared) ** 2).mean(1)


def absolute_error(gold: ScoreMatrix, scores: ScoreMatrix, shared: bool = False) -> QueryValues:
    """The mean over groups of |gold - a · scores - b|, >= 0, with the a and b of `squared_error`."""
    return np.abs(_residuals(gold, scores, shared)).mean(1)


MEASURES: dict[str, Callable[[ScoreMatrix, ScoreMatrix], QueryValues]] = {
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


def agreement(gold: ScoreMatrix, scores: ScoreMatrix) -> dict[str, QueryValues]:
    """All of MEASURES, by name: a value per query. ValueError as every measure."""
    gold, scores = check_scores(gold, scores)
    return {name: measure(gold, scores) for name, measure in MEASURES.items()}


def interval(values: QueryValues, resamples: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean when the queries are drawn again, with replacement.

    It covers the choice of queries only, not the randomness of the runs behind gold and scores.
    ValueError for values that are empty, not one per query or not finite, and for resamples < 1.
    """
    values = _check_values(values, resamples)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    result = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=RESAMPLES_AT_ONCE,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def sign_flip_p_value(first: QueryValues, second: QueryValues, resamples: int = 10000, seed: int = 0) -> float:
    """The two-sided p-value, in (0, 1], of the mean difference of two methods on the same queries, by sign flips.

    Under the null a query's difference is as likely to have the other sign. All 2^n flips for up to 12 queries, or
    where there are no more than ``resamples``; else (1 + as extreme) / (1 + resamples) random ones. Queries count as
    independent: see `interval`. ValueError as there, and for different numbers of queries.
    """
    first, second = _check_values(first, resamples), _check_values(second, resamples)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} queries cannot be paired")
    if len(first) == 1:
        return 1.0
    differences = first - second
    total = np.abs(differences).sum() or 1.0

    def extremeness(flipped: Float[np.ndarray, "... query"], axis: int) -> Float[np.ndarray, "..."] | float:
        return np.abs(flipped.sum(axis) / total).round(DECIMALS)

    result = permutation_test(
        (differences,),
        extremeness,
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf if len(differences) <= MAX_EXACT_QUERIES else resamples,
        batch=RESAMPLES_AT_ONCE,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _centre(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row item"]:
    """Less the rows' means; via the first column, so that a large offset costs nothing and constant rows are all 0."""
    values = values - values[:, :1]
    return values - values.mean(1, keepdims=True)


def _scale(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row item"]:
    """Centred, and at most 1, so that squares neither overflow nor vanish."""
    values = _centre(values)
    largest = np.abs(values).max(1, keepdims=True)
    return values / np.where(largest == 0, 1, largest)


def _residuals(gold: ScoreMatrix, scores: ScoreMatrix, shared: bool) -> ScoreMatrix:
    """What an affine function of the scores leaves of gold."""
    gold, scores = check_scores(gold, scores)
    shape = gold.shape
    if shared:
        gold, scores = gold.reshape(1, -1), scores.reshape(1, -1)
    gold, scores = _centre(gold), _scale(scores)
    squares = (scores**2).sum(1, keepdims=True)
    slopes = (gold * scores).sum(1, keepdims=True) / np.where(squares == 0, 1, squares)
    return (gold - slopes * scores).reshape(shape)


def _check_values(values: QueryValues, resamples: int) -> QueryValues:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"need finite values, one per query; the shape is {values.shape}")
    if resamples < 1:
        raise ValueError(f"{resamples} resamples")
    return values
