"""How well do scores find the groups that are relevant, which are the gold top n? One value per query.

GUDA's CIFAR-10 script takes these measures with n = 3 and 5. Shapes, and what raises ValueError: see
`tdattr.metrics.ranking`. A group's rank is here the number of groups that score as high as it or higher, so that ties
in the scores count against a method, as in scikit-learn; where the last of the gold top n tie, the measures are means
over all choices of them. n is at most the number of groups K; then all of them are relevant.
"""

import numpy as np
from jaxtyping import Float

from tdattr.metrics.ranking import (
    QueryValues,
    ScoreMatrix,
    chance_of_top,
    check_depth,
    check_scores,
    find_ties,
    top_overlap,
)


def jaccard(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The size of the intersection of gold's and the scores' top n over that of their union, in [0, 1].

    Where groups tie, that of the mean size of the intersection.
    """
    shared = top_overlap(gold, scores, n)
    return shared / (2 - shared)


def average_precision(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The mean over the relevant groups of the share of relevant ones down to their rank, in (0, 1].

    Of a single query this is also the label ranking average precision, which has no name of its own here.
    """
    gold, scores = check_scores(gold, scores)
    return np.asarray((_relevant_above(gold, scores, n) / _ranks(scores)).sum(1) / check_depth(n, gold))


def coverage_error(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The rank of the last relevant group: how far down one must read to have found all; in [n, K], less is better."""
    from scipy.special import comb  # takes a second to import

    gold, scores = check_scores(gold, scores)
    depth = check_depth(n, gold)
    chance, ranks = chance_of_top(gold, depth), _ranks(scores)
    values = []
    for row, likely in zip(ranks, chance, strict=True):
        last = row[likely == 1].max(initial=0)
        tied = np.sort(row[(likely > 0) & (likely < 1)])
        if len(tied):
            free = depth - (likely == 1).sum()
            is_last = comb(np.arange(len(tied)), free - 1) / comb(len(tied), free)  # of those chosen among them
            last = (is_last * np.maximum(tied, last)).sum()
        values.append(last)
    return np.array(values, dtype=np.float64)


def ranking_loss(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> QueryValues:
    """The share of pairs of a relevant and another group in which the other scores as high or higher, in [0, 1].

    Less is better; without ties it is 1 - the area under the ROC curve. 0 where all groups are relevant.
    """
    gold, scores = check_scores(gold, scores)
    depth, groups = check_depth(n, gold), gold.shape[1]
    swapped = chance_of_top(gold, depth) * _ranks(scores) - _relevant_above(gold, scores, n)
    return np.asarray(swapped.sum(1) / max(depth * (groups - depth), 1))


def _ranks(scores: ScoreMatrix) -> Float[np.ndarray, "query group"]:
    """How many groups score as high or higher."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, method="max", axis=1), dtype=np.float64)


def _relevant_above(gold: ScoreMatrix, scores: ScoreMatrix, n: int) -> Float[np.ndarray, "query group"]:
    """For every group that is relevant, how many relevant ones score as high or higher; times how likely it is that."""
    depth = check_depth(n, gold)
    chance = chance_of_top(gold, depth)
    higher, size = find_ties(gold)
    tied = (chance > 0) & (chance < 1)
    free = depth - higher  # places for the ``size`` groups that tie
    both_tied = chance * (free - 1) / np.maximum(size - 1, 1)
    above = np.zeros_like(chance)
    for group in range(gold.shape[1]):
        both = chance * chance[:, [group]]
        both = np.where(tied & tied[:, [group]], both_tied, both)
        both[:, group] = chance[:, group]
        above[:, group] = (both * (scores >= scores[:, [group]])).sum(1)
    return above
