"""Gold and scores of groups that tests of agreement take."""

import numpy as np

from tdattr.metrics.ranking import ranking

# gold ranks the groups a b c d, the scores c a b d
GOLD = np.array([[8.0, 4.0, 2.0, 1.0]])
SCORES = np.array([[5.0, 3.0, 6.0, 0.0]])


def drawn(groups: int, queries: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.standard_normal((queries, groups))
    return gold, gold + rng.standard_normal((queries, groups))


def positions(scores: np.ndarray) -> np.ndarray:
    """The rank of every column, 0 = highest; of scores without ties."""
    return np.argsort(ranking(scores), axis=1)


def tied(groups: int, queries: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    gold, scores = np.random.default_rng(seed).integers(4, size=(2, queries, groups)).astype(float)
    return gold, scores
