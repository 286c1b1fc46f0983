"""Nearest neighbours against all distances, whatever the block."""

import numpy as np
import pytest

from tdattr.data.prepared import Prepared, Split
from tdattr.unlearning import neighbours
from tdattr.unlearning.neighbours import nearest

ITEMS = np.array([40, 7, 7, 0, 23])


def brute(split: Split, items: np.ndarray, candidates: np.ndarray, count: int) -> np.ndarray:
    """All squared distances as integers; equal ones by id."""
    pixels = np.array(split.pixels).astype(np.int64).reshape(len(split), -1)
    rows = []
    for item in items:
        squares = [int(((pixels[item] - pixels[other]) ** 2).sum()) for other in candidates]
        rows.append([other for _, other in sorted(zip(squares, candidates.tolist(), strict=True))][:count])
    return np.array(rows)


@pytest.fixture
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(neighbours, "BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("block", [1, 3, 10, 11, 12, 100], indirect=True)
def test_against_brute_force(tiny_data: Prepared, block: int) -> None:
    candidates = np.setdiff1d(np.arange(48), [*ITEMS, 1, 2, 30, 31])
    for count in (1, 4, 10, 11, len(candidates)):
        found = nearest(tiny_data.train, ITEMS, candidates, count)
        np.testing.assert_array_equal(found, brute(tiny_data.train, ITEMS, candidates, count))
        assert found.dtype == np.int64


@pytest.mark.parametrize("block", [2, 5, 100], indirect=True)
def test_fewer_candidates_than_asked_for(tiny_data: Prepared, block: int) -> None:
    candidates = np.array([3, 8, 44])
    found = nearest(tiny_data.train, ITEMS, candidates, 10)
    assert found.shape == (5, 3)
    np.testing.assert_array_equal(found, brute(tiny_data.train, ITEMS, candidates, 3))


def test_an_item_among_the_candidates_is_its_own_neighbour(tiny_data: Prepared) -> None:
    assert nearest(tiny_data.train, ITEMS, np.arange(48), 2)[:, 0].tolist() == ITEMS.tolist()
