"""How well do a method's scores of groups agree with gold scores, and is one method nearer to gold than another?

Scores are [query, group], higher = more influential: see `tdattr.metrics.ranking`, which has the measures of ranks,
for ties and for what raises ValueError, and `tdattr.metrics.relevance`. Here are the measures of values, all measures
by name, and tests over queries.

After "Agreement with LOGO" in GUDA (arXiv 2601.22651) and its two evaluation scripts (CIFAR-10, UnlearnCanvas).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from tdattr.metrics.rank_correlation import CONFIDENCE, RESAMPLES_AT_ONCE, spearman
from tdattr.metrics.ranking import (
    QueryValues,
    ScoreMatrix,
    check_scores,
    kendall_tau,
    ndcg,
    ndcg_of_values,
    pairwise,
    rank_biased_overlap,
    reciprocal_rank,
    top_overlap,
)
from tdattr.metrics.relevance import average_precision, coverage_error, jaccard, ranking_loss

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


def shared_fit(gold: ScoreMatrix, scores: ScoreMatrix) -> tuple[float, float]:
    """The a and b of `squared_error` with `shared`: gold is about a · scores + b, by least squares over all queries.

    a = 0 where the scores are constant.
    """
    gold, scores = (values.reshape(1, -1) for values in check_scores(gold, scores))
    slope = (_slopes(gold, scores) / _largest(scores)).item()
    return slope, float(gold.mean() - slope * scores.mean())


Measure = Callable[[ScoreMatrix, ScoreMatrix], QueryValues]
MEASURES: dict[str, Measure] = {  # those that tables show
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
    "pairwise_top_5_untied": partial(pairwise, top=5, ties="left_out"),
    "pairwise_all_untied": partial(pairwise, ties="left_out"),
    "pearson": pearson_r,
    "mse_shared_fit": partial(squared_error, shared=True),
    "mae_shared_fit": partial(absolute_error, shared=True),
}
FURTHER_MEASURES: dict[str, Measure] = {  # those that stand in a verdict alone; all from CIFAR-10's scripts
    "pairwise_top_3_strict": partial(pairwise, top=3, ties="wrong"),
    "pairwise_all_strict": partial(pairwise, ties="wrong"),
    "ndcg_of_values_3": partial(ndcg_of_values, n=3),
    "ndcg_of_values_5": partial(ndcg_of_values, n=5),
    "jaccard_3": partial(jaccard, n=3),
    "jaccard_5": partial(jaccard, n=5),
    "average_precision_3": partial(average_precision, n=3),
    "average_precision_5": partial(average_precision, n=5),
    "coverage_error_3": partial(coverage_error, n=3),
    "coverage_error_5": partial(coverage_error, n=5),
    "ranking_loss_3": partial(ranking_loss, n=3),
    "ranking_loss_5": partial(ranking_loss, n=5),
}
ALL_MEASURES = MEASURES | FURTHER_MEASURES
LOWER_IS_BETTER = frozenset(
    name for name in ALL_MEASURES if name.startswith(("mse", "mae", "coverage_error", "ranking_loss"))
)


def share_of_ceiling(measure: str, value: float, ceiling: float | None) -> float | None:
    """value / ceiling; None where there is no ceiling above zero, or where less is better."""
    return value / ceiling if ceiling is not None and ceiling > 0 and measure not in LOWER_IS_BETTER else None


def agreement(gold: ScoreMatrix, scores: ScoreMatrix) -> dict[str, QueryValues]:
    """All measures, by name: a value per query. ValueError as every measure."""
    gold, scores = check_scores(gold, scores)
    return {name: measure(gold, scores) for name, measure in ALL_MEASURES.items()}


def estimate(values: QueryValues, resamples: int) -> dict[str, Any]:
    """The ``mean`` of values and the ``low`` and ``high`` end of its `interval`, None where there is none."""
    low, high = interval(values, resamples) or (None, None)
    return {"mean": float(np.mean(values)), "low": low, "high": high}


def interval(values: QueryValues, resamples: int, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean when the queries are drawn again, with replacement; None for a single
    query, which says nothing of others.

    It covers the choice of queries only, not the randomness of the runs behind gold and scores.
    ValueError for values that are empty, not one per query or not finite, and for resamples < 1.
    """
    from scipy.stats import bootstrap  # takes a second to import

    values = _check_values(values, resamples)
    if len(values) == 1:
        return None
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
    from scipy.stats import permutation_test

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


def _largest(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row 1"]:
    """How far a row's values lie from their mean at most; 1 where they are constant."""
    largest = np.abs(_centre(values)).max(1, keepdims=True)
    return np.where(largest == 0, 1, largest)


def _scale(values: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row item"]:
    """Centred, and at most 1, so that squares neither overflow nor vanish."""
    return _centre(values) / _largest(values)


def _slopes(gold: Float[np.ndarray, "row item"], scores: Float[np.ndarray, "row item"]) -> Float[np.ndarray, "row 1"]:
    """By least squares, of gold over the scaled scores; 0 where those are constant."""
    scaled = _scale(scores)
    squares = (scaled**2).sum(1, keepdims=True)
    return (_centre(gold) * scaled).sum(1, keepdims=True) / np.where(squares == 0, 1, squares)


def _residuals(gold: ScoreMatrix, scores: ScoreMatrix, shared: bool) -> ScoreMatrix:
    """What an affine function of the scores leaves of gold."""
    gold, scores = check_scores(gold, scores)
    shape = gold.shape
    if shared:
        gold, scores = gold.reshape(1, -1), scores.reshape(1, -1)
    return (_centre(gold) - _slopes(gold, scores) * _scale(scores)).reshape(shape)


def _check_values(values: QueryValues, resamples: int) -> QueryValues:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"need finite values, one per query; the shape is {values.shape}")
    if resamples < 1:
        raise ValueError(f"{resamples} resamples")
    return values
