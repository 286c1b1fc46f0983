"""Draws are those of D-TRAK's authors, and fair."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from tdattr.data.subset import ItemsConfig, draw_by_class, draw_items
from tdattr.errors import UserError


def test_the_items_of_d_trak_are_drawn() -> None:
    """The first ones that CelebA/00_EDA.ipynb prints; the validation part begins at 162 770."""
    train, test = draw_items(162770, 5000, 42), draw_items(19867, 1000, 42) + 162770
    assert {48803, 28992, 118843, 86803, 153263} <= set(train.tolist())
    assert {167013, 179842, 176165, 167714, 180120, 178565} <= set(test.tolist())
    assert len(set(train.tolist())) == 5000 and len(set(test.tolist())) == 1000


@pytest.mark.parametrize(("size", "count"), [(20, 5), (20, 19), (7, 1)])
def test_as_scikit_learn_draws(size: int, count: int) -> None:
    expected, _ = train_test_split(np.arange(size), train_size=count, random_state=3)
    assert draw_items(size, count, 3).tolist() == sorted(expected.tolist())


@pytest.mark.parametrize("sizes", [(50, 50), (40, 20, 60)])
def test_as_scikit_learn_draws_by_class(sizes: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    count = len(labels) // 4 * 2
    expected, _ = train_test_split(np.arange(len(labels)), train_size=count, random_state=42, stratify=labels)
    drawn = draw_by_class(labels, count, 42)
    assert drawn.tolist() == sorted(expected.tolist())
    assert np.unique(labels[drawn], return_counts=True)[1].tolist() == [size * count // len(labels) for size in sizes]


def test_shares_that_are_no_whole_numbers() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    for count in range(1, 11):
        drawn = draw_by_class(labels, count, 1)
        found = np.bincount(labels[drawn], minlength=3)
        assert len(set(drawn.tolist())) == count and np.abs(found - count * np.array([0.5, 0.3, 0.2])).max() < 1


def test_everything_and_nothing() -> None:
    labels = np.array([1, 0, 1])
    assert draw_items(3, 3, 1).tolist() == draw_by_class(labels, 3, 1).tolist() == [0, 1, 2]
    assert draw_items(3, 0, 1).tolist() == draw_by_class(labels, 0, 1).tolist() == []


def test_seeds_differ() -> None:
    assert draw_items(100, 10, 1).tolist() != draw_items(100, 10, 2).tolist()


def test_items() -> None:
    items = ItemsConfig(train=5, test=None)
    assert items.of("train", 5) == 5 and items.of("test", 5) is None
    with pytest.raises(UserError, match=r"dataset\.source\.items\.train=5 asks for more than the 4 items"):
        items.of("train", 4)
