"""Drawing some of a split's items, so that the items are those of D-TRAK (arXiv 2311.00500) where the seed is 42.

Its authors drew with scikit-learn's ``train_test_split(train_size=count, random_state=42)``, stratified by class where
there are classes (their notebooks 00_EDA). The same permutations are made here with NumPy's ``RandomState``, whose
streams never change.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Int

from tdattr.errors import UserError
from tdattr.ranges import Count, CountOrZero, Range

SubsetSeed = Annotated[int, Range(least=0, below=2**32)]  # what NumPy's ``RandomState`` takes


@dataclass(frozen=True)
class ItemsConfig:
    """The node ``dataset.source.items``: how many items of each split are used; null: all of them."""

    train: Count | None
    test: CountOrZero | None

    def of(self, split: str, available: int) -> int | None:
        """The number asked for in ``train`` or ``test``. Raises UserError where there are fewer."""
        count: int | None = getattr(self, split)
        if count is not None and count > available:
            raise UserError(
                f"dataset.source.items.{split}={count} asks for more than the {available} items that there are: "
                "give fewer, or null for all."
            )
        return count


def draw_items(size: int, count: int, seed: int) -> Int[np.ndarray, " count"]:
    """``count`` of 0 … ``size`` - 1, ascending, drawn uniformly without replacement."""
    return np.sort(np.random.RandomState(seed).permutation(size)[size - count :])


def draw_by_class(labels: Int[np.ndarray, " item"], count: int, seed: int) -> Int[np.ndarray, " count"]:
    """``count`` indices into ``labels``, ascending; every class keeps its share, to the nearest whole number."""
    rng = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes
    shares = exact // len(labels)
    rests = np.argsort(-(exact % len(labels)), kind="stable")
    shares[rests[: count - shares.sum()]] += 1
    drawn = [
        np.flatnonzero(labels == label)[rng.permutation(size)[:share]]
        for label, size, share in zip(classes, sizes, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn))
