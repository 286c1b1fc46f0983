"""Nearest neighbours of what networks see, from a memory map that need not fit in memory twice."""

import numpy as np
from jaxtyping import Int

from tdattr.data.prepared import Split
from tdattr.progress import track

BLOCK = 8192  # candidates searched at a time


def nearest(
    split: Split, items: Int[np.ndarray, " item"], candidates: Int[np.ndarray, " candidate"], count: int
) -> Int[np.ndarray, "item neighbour"]:
    """The ids of the ``count`` (or all, where there are fewer) candidates nearest to each item, nearest first.

    By Euclidean distance of x, the images or their latents, not mirrored. Which of several equally near ones are kept
    is unspecified.
    """
    from sklearn.neighbors import NearestNeighbors  # takes seconds to import

    count = min(count, len(candidates))
    queries = flatten(split, items)
    distances = np.empty((len(items), 0))
    ids = np.empty((len(items), 0), dtype=np.int64)
    starts = range(0, len(candidates), BLOCK)
    for start in track(starts, "Nearest neighbours", len(starts), nested=True):
        block = candidates[start : start + BLOCK]
        search = NearestNeighbors(n_neighbors=min(count, len(block)), algorithm="brute").fit(flatten(split, block))
        new_distances, columns = search.kneighbors(queries)
        distances, ids = np.concatenate([distances, new_distances], 1), np.concatenate([ids, block[columns]], 1)
        order = np.lexsort((ids, distances), axis=1)[:, :count]
        distances, ids = np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)
    return ids


def flatten(split: Split, ids: Int[np.ndarray, " item"]) -> np.ndarray:
    """Their x as rows of float32."""
    return split.x(ids).flatten(1).numpy()
