"""Training ids, and what stands for them in the address of an artifact."""

import hashlib

import numpy as np
from jaxtyping import Int

Ids = Int[np.ndarray, " _id"]
NO_IDS: Ids = np.array([], dtype=np.int64)  # what is removed where nothing is


def digest_ids(ids: Ids) -> str:
    """What stands for a set of ids in the address of an artifact: 16 hexadecimal digits."""
    ascending = bool((ids[1:] > ids[:-1]).all())  # as most are: to sort them takes a hundred times as long
    unique = ids if ascending else np.unique(ids)
    return hashlib.sha256(unique.astype("<i8").tobytes()).hexdigest()[:16]


def digest_order(ids: Ids) -> str:
    """The same of a list of ids, whose order and repeats count."""
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()[:16]
