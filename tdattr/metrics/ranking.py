"""How well do scores rank groups as gold scores do? One value per query.

Scores are [query, group], higher = more influential. Rankings go from the highest score down. Groups that tie, in gold
or in the scores, have no order of their own, and that of the columns is an accident of their names: a measure of ranks
is the mean over all orders of them, unless its docstring has another rule. Constant scores have a top-1 of 1 / K.
A measure of the top n uses all groups when there are fewer than n. Every measure raises ValueError for matrices that
are not alike in shape, are empty, have fewer than 2 groups or values that are not finite.

After "Agreement with LOGO" in GUDA (arXiv 2601.22651) and its two evaluation scripts (CIFAR-10, UnlearnCanvas).
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Real

ScoreMatrix = Real[np.ndarray, "query group"]
QueryValues = Float[np.ndarray, " query"]
Ties = tuple[Int[np.ndarray, "query group"], Int[np.ndarray, "query group"]]


def check_scores(gold: ScoreMatrix, scores: ScoreMatrix) -> tuple[ScoreMatrix, ScoreMatrix]:
    """Both matrices in double precision, or ValueError: see the module."""
    gold, scores = np.asarray(gold, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if gold.ndim != 2 or gold.shape != scores.shape:
        raise ValueError(f"gold {gold.shape} and scores {scores.shape} must both be [query, group]")
    if gold.shape[0] < 1 or gold.shape[1] < 2:
        raise ValueError(f"need a query and two groups, not {gold.shape}")
    if not (np.isfinite(gold).all() and np.isfinite(scores).all()):
        raise ValueError("gold or scores have values that are not finite")
    return gold, scores


def ranking(scores: ScoreMatrix) -> Int[np.ndarray, "query group"]:
    """The columns from the highest score to the lowest; ties in the columns' order."""
    return np.argsort(-scores, axis=1, kind="stable")


def find_ties(scores: ScoreMatrix) -> Ties:
    """For every column, how many score higher, and how many as high, itself counted."""
    from scipy.stats import rankdata  # takes a second to import

    higher, reaching = (rankdata(-scores, method=method, axis=1).astype(int) for method in ("min", "max"))
    return higher - 1, reaching - higher + 1


def chance_of_top(scores: ScoreMatrix, n: int) -> Float[np.ndarray, "query group"]:
    """How likely every column is one of the first n, over all orders of those that tie."""
    return chance_among(find_ties(scores), n)


def chance_among(ties: Ties, n: int) -> Float[np.ndarray, "query group"]:
    """`chance_of_top`, from what `find_ties` gives."""
    higher, size = ties
    return np.clip((n - higher) / size, 0, 1)


def share_by_rank(values: Float[np.ndarray, " group"], scores: ScoreMatrix) -> Float[np.ndarray, "query group"]:
    """What every column gets where the first gets ``values[0]``, the second ``values[1]`` …; those that tie the mean of
    what is theirs."""
    higher, size = find_ties(scores)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.where(size == 1, values[higher], (sums[higher + size] - sums[higher]) / size)


def top_overlap(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The share of the gold top n that is in the scores' top n, in [0, 1]; n = 1: top-1 agreement (0 or 1).

    n is at most the number of groups K: with K <= n it is always 1, and with K < 2n never 0. ValueError for n < 1.
    """
    gold, scores = check_scores(gold, scores)
    depth = check_depth(n, gold)
    return np.asarray((chance_of_top(gold, depth) * chance_of_top(scores, depth)).sum(1) / depth)


def ndcg(gold: ScoreMatrix, scores: ScoreMatrix, n: int, linear: bool = False) -> QueryValues:
    """Normalised discounted cumulative gain of the first n (at most K) ranks, in [0, 1]; 1: the gold ranking's gain.

    Rank i = 1, 2 … is discounted by log2(i + 1). The gold rank r = 1 … K gives the gain 2^(K - r) - 1 (CIFAR-10's
    script), or with `linear` K - r + 1, that is K … 1 (UnlearnCanvas's). ValueError for n < 1.
    """
    gold, scores = check_scores(gold, scores)
    depth, groups = check_depth(n, gold), gold.shape[1]
    ranks = np.arange(1, groups + 1)
    # the exponential gains times 2^-K, which cancels in the ratio and keeps many groups from overflowing
    gains = groups - ranks + 1.0 if linear else np.exp2(-ranks) - np.exp2(-groups)
    discounts = discount(depth, groups)
    gained = share_by_rank(gains, gold) * share_by_rank(discounts, scores)
    return np.asarray(gained.sum(1) / (gains * discounts).sum())


def ndcg_of_values(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """`ndcg` with the gold values themselves as gains, in [0, 1]; CIFAR-10's script (scikit-learn's).

    Where a gold value of any query is negative, the gains are the differences from the lowest of all queries, whose
    values then depend on each other. 0 for a query that can gain nothing. ValueError for n < 1.
    """
    gold, scores = check_scores(gold, scores)
    depth = check_depth(n, gold)
    gains = gold - min(0.0, float(gold.min()))
    discounts = discount(depth, gold.shape[1])
    gained, ideal = ((gains * share_by_rank(discounts, order)).sum(1) for order in (scores, gold))
    return np.asarray(gained / np.where(ideal == 0, 1, ideal))


def discount(depth: int, groups: int) -> Float[np.ndarray, " group"]:
    """1 / log2(i + 1) for the ranks i = 1, 2 … up to ``depth``, and 0 below it."""
    ranks = np.arange(1, groups + 1)
    return np.where(ranks <= depth, 1 / np.log2(ranks + 1), 0)


def reciprocal_rank(gold: ScoreMatrix, scores: ScoreMatrix) -> QueryValues:
    """1 / the rank that the scores give to the gold top group, in [1 / K, 1]."""
    gold, scores = check_scores(gold, scores)
    reciprocals = 1 / np.arange(1.0, gold.shape[1] + 1)
    return np.asarray((chance_of_top(gold, 1) * share_by_rank(reciprocals, scores)).sum(1))


def pairwise(
    gold: ScoreMatrix,
    scores: ScoreMatrix,
    top: int | None = None,
    ties: Literal["half", "left_out", "wrong"] = "half",
) -> QueryValues:
    """The share of pairs of groups that are ordered as in gold, weighted by |Δgold|, in [0, 1]; 0.5 = chance.

    Over all pairs, or those with at least one of the gold top `top` (ValueError below 1), each by how likely that is
    where the last of these tie. Pairs that tie in gold weigh nothing; those that tie in the scores count half, are left
    out (UnlearnCanvas's script), or are wrong (CIFAR-10's). 0.5 where no pair has weight.
    """
    gold, scores = check_scores(gold, scores)
    groups = gold.shape[1]
    order = ranking(gold)
    gold, scores = np.take_along_axis(gold, order, axis=1), np.take_along_axis(scores, order, axis=1)
    chance = chance_of_top(gold, groups if top is None else check_depth(top, gold))
    agreeing, total = np.zeros(len(gold)), np.zeros(len(gold))
    for first in range(int((chance > 0).sum(1).max())):  # sorted: of a pair, the first is the one that is in the top
        weights = chance[:, first, None] * (gold[:, first, None] - gold[:, first + 1 :])
        signs = np.sign(scores[:, first, None] - scores[:, first + 1 :])
        if ties == "left_out":
            weights = weights * (signs != 0)
        agreeing += (weights * ((signs > 0) if ties == "wrong" else (1 + signs) / 2)).sum(1)
        total += weights.sum(1)
    return np.where(total > 0, agreeing / np.where(total > 0, total, 1), 0.5)


def rank_biased_overlap(gold: ScoreMatrix, scores: ScoreMatrix, p: float = 0.9) -> QueryValues:
    """(1 - p) Σ_d p^(d-1) · (the share of the top d that the rankings have in common), over the depths d = 1 … K.

    Truncated at K and not renormalised: in (0, 1 - p^K], so that values of different K do not compare. Webber, Moffat
    and Zobel (2010). ValueError unless 0 < p < 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p = {p} is not between 0 and 1")
    gold, scores = check_scores(gold, scores)
    in_gold, in_scores = find_ties(gold), find_ties(scores)
    total = np.zeros(len(gold))
    for depth in range(1, gold.shape[1] + 1):
        shared = (chance_among(in_gold, depth) * chance_among(in_scores, depth)).sum(1)
        total += (1 - p) * p ** (depth - 1) * shared / depth
    return total


def kendall_tau(gold: ScoreMatrix, scores: ScoreMatrix) -> QueryValues:
    """Kendall's tau-b, as SciPy's, in [-1, 1]; but 0 where gold or the scores are constant, where SciPy has NaN."""
    gold, scores = check_scores(gold, scores)
    excess, untied_gold, untied_scores = np.zeros((3, len(gold)))
    for first in range(gold.shape[1] - 1):
        in_gold = np.sign(gold[:, first, None] - gold[:, first + 1 :])
        in_scores = np.sign(scores[:, first, None] - scores[:, first + 1 :])
        excess += (in_gold * in_scores).sum(1)
        untied_gold += (in_gold != 0).sum(1)
        untied_scores += (in_scores != 0).sum(1)
    lengths = np.sqrt(untied_gold * untied_scores)
    return np.asarray(excess / np.where(lengths == 0, 1, lengths))


def check_depth(n: int, gold: ScoreMatrix) -> int:
    """n, or the number of groups where there are fewer. ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"a top {n} has no groups")
    return min(n, gold.shape[1])
