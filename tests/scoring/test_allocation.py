"""Allocations choose cells round by round; what is known of an item comes from the cells that were chosen."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from tdattr.configs import typed
from tdattr.data.prepared import Prepared
from tdattr.methods.loss_shift import ShiftConfig, mean_shift
from tdattr.scoring.allocation import AllCells, Estimate, Rounds, Tally
from tdattr.scoring.cells import Block, Items, TrainingItems
from tdattr.scoring.loss_table import LossTable
from tdattr.scoring.pairs import Pairs
from tests.scoring.losses import IDS, NOISE, PAIRS

SHIFT = {
    "pairs": PAIRS,
    "levels": "generation",
    "schedule_share": 1.0,
    "form": "difference",
    "consistent": True,
    "kept": "all",
    "epsilon": None,
    "mirror": False,
    "captions": "first",
}


class Doubtful(Rounds):
    """The first pairs of all items, then two more of those of which least is known."""

    def __init__(self) -> None:
        self.seen: list[Estimate | None] = []

    def next(self, estimate: Estimate | None) -> Block | None:
        self.seen.append(estimate)
        if estimate is None:
            return Block(np.arange(len(IDS)), np.array([0, 2, 3]))
        return Block(self.chosen, np.array([4, 1])) if len(self.seen) == 2 else None

    @property
    def chosen(self) -> np.ndarray:
        """The three items with the largest standard errors after the first round."""
        assert self.seen[1] is not None
        return self.seen[1].standard_error.argsort(descending=True)[:3].numpy()

    def cells(self, values: np.ndarray) -> list[np.ndarray]:
        """The values of the cells that it chose, item by item."""
        columns = [[0, 2, 3, 4, 1] if row in self.chosen else [0, 2, 3] for row in range(len(IDS))]
        return [values[row, which] for row, which in enumerate(columns)]


@dataclass(frozen=True)
class Known(LossTable):
    """A table whose values are given; notes what it is asked for."""

    items: Items
    pairs: Pairs
    values: Tensor
    asked: list[Block] = field(default_factory=list)

    def at(self, block: Block) -> Tensor:
        self.asked.append(block)
        return self.values[torch.from_numpy(block.rows)][:, torch.from_numpy(block.columns)]


@pytest.fixture
def values() -> Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(len(IDS), PAIRS)) * rng.exponential(size=(len(IDS), 1)) + 3).float()


def test_all_cells_are_given_once() -> None:
    block = Block(np.array([4, 1]), np.array([0, 2]))
    rounds = AllCells(block)
    assert rounds.next(None) is block
    known = Tally(5)
    known.add(block, torch.rand(2, 2))
    assert rounds.next(known.estimate()) is None and rounds.next(None) is None


def test_the_estimate_is_that_of_the_chosen_cells(values: Tensor) -> None:
    rounds, tally = Doubtful(), Tally(len(IDS))
    estimate: Estimate | None = None
    while (block := rounds.next(estimate)) is not None:
        tally.add(block, values[torch.from_numpy(block.rows)][:, torch.from_numpy(block.columns)])
        estimate = tally.estimate()
    assert estimate is not None
    chosen = rounds.cells(values.double().numpy())
    np.testing.assert_allclose(estimate.mean, [cells.mean() for cells in chosen], rtol=1e-5)
    errors = [cells.std(ddof=1) / len(cells) ** 0.5 for cells in chosen]
    np.testing.assert_allclose(estimate.standard_error, errors, rtol=1e-4)
    assert estimate.cells.tolist() == [len(cells) for cells in chosen]
    assert sorted(estimate.cells.tolist()) == [3, 3, 3, 3, 5, 5, 5]
    assert torch.equal(tally.mean(), estimate.mean)


def test_a_small_spread_about_a_large_mean_is_not_lost(values: Tensor) -> None:
    tally = Tally(len(IDS))
    far = 1000 + 0.01 * values
    for columns in (np.array([0, 2, 3]), np.array([4, 1])):
        tally.add(Block(np.arange(len(IDS)), columns), far[:, torch.from_numpy(columns)])
    expected = far.double().std(1) / PAIRS**0.5
    torch.testing.assert_close(tally.estimate().standard_error.double(), expected, rtol=0.02, atol=0)


def test_nothing_is_known_of_the_error_of_a_single_cell(values: Tensor) -> None:
    tally = Tally(len(IDS))
    tally.add(Block(np.array([2, 5]), np.array([1])), values[[2, 5], 1:2])
    estimate = tally.estimate()
    assert torch.equal(estimate.mean[[2, 5]], values[[2, 5], 1])
    assert estimate.standard_error[[2, 5]].isinf().all()
    assert estimate.mean[[0, 1, 3, 4, 6]].isnan().all() and estimate.standard_error[[0, 1, 3, 4, 6]].isinf().all()


def test_the_mean_of_equal_values_is_known_exactly() -> None:
    tally = Tally(2)
    for columns in (np.array([0, 1]), np.array([2])):
        tally.add(Block(np.arange(2), columns), torch.full((2, len(columns)), 0.7))
    assert tally.estimate().standard_error.tolist() == pytest.approx([0, 0], abs=1e-7)


@pytest.fixture
def tables(tiny_data: Prepared, values: Tensor) -> tuple[Known, Known]:
    """Losses before and after."""
    items = TrainingItems(tiny_data.train, IDS)
    moved = values + torch.linspace(0.1, 2, values.numel()).view_as(values).sin()
    return Known(items, NOISE, values), Known(items, NOISE, moved)


def test_a_shift_is_the_mean_over_the_cells_of_all_rounds(tables: tuple[Known, Known]) -> None:
    before, after = tables
    rounds = Doubtful()
    found = mean_shift(typed(ShiftConfig, SHIFT, "score"), before, after, rounds)
    expected = [cells.mean() for cells in rounds.cells((after.values - before.values).double().numpy())]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert [len(block.rows) for block in before.asked] == [len(IDS), 3]
    assert all(old is new for old, new in zip(before.asked, after.asked, strict=True))


def test_losses_under_noise_of_their_own_are_averaged_before_they_are_compared(tables: tuple[Known, Known]) -> None:
    before, after = tables
    for form, epsilon in (("difference", None), ("skew", 1e-12)):
        config = typed(ShiftConfig, SHIFT | {"consistent": False, "form": form, "epsilon": epsilon}, "score")
        found = mean_shift(config, before, after, AllCells(Block.whole(before.items, NOISE)))
        old, new = before.values.mean(1), after.values.mean(1)
        expected = new - old if form == "difference" else (new - old) / (new.abs() + old.abs())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
