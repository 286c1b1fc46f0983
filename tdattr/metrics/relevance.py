"""How well do scores find the groups that are relevant, which are the gold top n? One value per query.

GUDA's CIFAR-10 script takes these measures with n = 3 and 5. Shapes, and what raises ValueError: see
`tdattr.metrics.ranking`. A group's rank is here the number of groups that score as high as it or higher, so that ties
count against a method, as in scikit-learn. n is at most the number of groups K; then all of them are relevant.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from tdattr.metrics.ranking import QueryValues, ScoreMatrix, check_depth, check_scores, positions, top_overlap


def jaccard(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The size of the intersection of gold's and the scores' top n over that of their union, in [0, 1]."""
    shared = top_overlap(gold, scores, n)
    return shared / (2 - shared)


def average_precision(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The mean over the relevant groups of the share of relevant ones down to their rank, in (0, 1].

    Of a single query this is also the label ranking average precision, which has no name of its own here.
    """
    relevant, ranks, among = _ranks(gold, scores, n)
    return np.asarray((relevant * among / ranks).sum(1) / relevant.sum(1))


def coverage_error(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The rank of the last relevant group: how far down one must read to have found all; in [n, K], less is better."""
    relevant, ranks, _ = _ranks(gold, scores, n)
    return np.asarray((relevant * ranks).max(1))


def ranking_loss(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The share of pairs of a relevant and another group in which the other scores as high or higher, in [0, 1].

    Less is better; without ties it is 1 - the area under the ROC curve. 0 where all groups are relevant.
    """
    relevant, ranks, among = _ranks(gold, scores, n)
    count = relevant.sum(1)
    pairs = count * (relevant.shape[1] - count)
    return np.asarray((relevant * (ranks - among)).sum(1) / np.where(pairs == 0, 1, pairs))


def _ranks(
    gold: ScoreMatrix, scores: ScoreMatrix, n: int
) -> tuple[Bool[np.ndarray, "query group"], Float[np.ndarray, "query group"], Float[np.ndarray, "query group"]]:
    """Which groups are relevant, the ranks of all groups, and the ranks of the relevant ones among themselves."""
    gold, scores = check_scores(gold, scores)
    relevant = positions(gold) < check_depth(n, gold)
    ranks = rankdata(-scores, method="max", axis=1)
    among = rankdata(np.where(relevant, -scores, np.inf), method="max", axis=1)
    return relevant, np.asarray(ranks, dtype=np.float64), np.asarray(among, dtype=np.float64)
