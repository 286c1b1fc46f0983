"""Coupling: trainings on different items see the same batches wherever their items are the same."""

import numpy as np
from jaxtyping import Int


def replace_removed(
    ids: Int[np.ndarray, " batch"], kept: Int[np.ndarray, " kept"], rng: np.random.Generator
) -> Int[np.ndarray, " batch"]:
    """The same ids, each one outside ``kept`` replaced by one drawn from ``kept``."""
    drawn = rng.integers(len(kept), size=len(ids))
    return np.where(np.isin(ids, kept), ids, kept[drawn])
