"""A stored table computes the blocks that are missing and nothing twice; one in memory computes what it is asked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.scoring import loss_table
from tdattr.scoring.cells import Block, LossModel, TrainingItems
from tdattr.scoring.loss_table import ComputedTable, StoredTable
from tdattr.scoring.pairs import OwnNoise, Pairs
from tdattr.store import Build, Plan, Store, find, provenance
from tests.scoring.losses import CPU, IDS, NOISE, PAIRS, Watched, double_loop, own_noise

ROWS, COLUMNS = 3, 2  # of a block: the table of 7 x 5 cells has 3 x 3 blocks, the last ones smaller
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class World:
    """A table of the losses of IDS whose blocks lie in one store, and the networks that were loaded for it."""

    def __init__(self, edm: EDM, items: TrainingItems, network: nn.Module, root: Path) -> None:
        self.edm, self.items, self.network = edm, items, network
        self.store = Store(root, "cpu")
        self.loaded: list[Watched] = []

    def table(self, fail_after: int = 10**9, pairs: Pairs = NOISE, batch_size: int = 4, **about: Any) -> StoredTable:
        """As a new process would make it."""

        def load() -> LossModel:
            self.loaded.append(Watched(self.network, fail_after))
            return LossModel(self.edm, self.loaded[-1], CPU, batch_size)

        def plan(config: Mapping[str, Any], build: Build) -> Plan:
            return self.store.plan("losses", 1, about | dict(config), {}, build)

        return StoredTable(self.items, pairs, load, plan, "Losses")

    @property
    def cells(self) -> int:
        """How many cells were evaluated."""
        return sum(network.cells for network in self.loaded)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Which blocks were built, in their order."""
        built = [provenance(find(self.store.root, name)) for name in self.store.built]
        return [tuple(each["config"]["block"]) for each in built]

    def expected(self, own: bool = False) -> torch.Tensor:
        return double_loop(self.edm, self.network, self.items.split, own)


@pytest.fixture
def world(
    tiny_data: Prepared,
    tiny_dit: Callable[..., nn.Module],
    edm: EDM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    monkeypatch.setattr(loss_table, "BLOCK_ITEMS", ROWS)
    monkeypatch.setattr(loss_table, "BLOCK_PAIRS", COLUMNS)
    return World(edm, TrainingItems(tiny_data.train, IDS), tiny_dit(4, spread=0.2), tmp_path)


def test_the_whole_table_is_computed_once_in_blocks(world: World) -> None:
    found = world.table().whole()
    torch.testing.assert_close(found, world.expected(), **CLOSE)
    assert found.dtype == torch.float32
    assert world.cells == len(IDS) * PAIRS and len(world.loaded) == 1
    assert world.places == [(top, left) for top in range(3) for left in range(3)]
    again = world.table()
    assert torch.equal(again.whole(), found) and torch.equal(again.whole(), found)
    assert len(world.loaded) == 1  # nothing was missing, so that no network was loaded


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_every_item_may_have_its_own_noise(world: World, batch_size: int) -> None:
    found = world.table(pairs=OwnNoise(own_noise, PAIRS), batch_size=batch_size).whole()
    torch.testing.assert_close(found, world.expected(own=True), **CLOSE)
    assert world.cells == len(IDS) * PAIRS
    assert max(size for network in world.loaded for size in network.batches) <= batch_size


def test_a_part_touches_the_blocks_that_hold_it(world: World) -> None:
    block = Block(np.array([6, 1, 0]), np.array([4, 1]))  # in rows 0 and 2 of the blocks, and columns 0 and 2
    found = world.table().at(block)
    torch.testing.assert_close(found, world.expected()[[6, 1, 0]][:, [4, 1]], **CLOSE)
    assert world.places == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert world.cells == (3 + 1) * (2 + 1)


def test_only_missing_blocks_are_computed_and_no_cell_twice(world: World) -> None:
    table = world.table()
    table.at(Block(np.array([0, 6]), np.array([0])))
    assert world.cells == 3 * 2 + 1 * 2
    table.at(Block(np.array([2]), np.array([1])))  # of a block that is there
    assert world.cells == 8
    other = world.table()
    torch.testing.assert_close(other.at(Block(np.array([2, 3]), np.array([1]))), world.expected()[2:4, 1:2], **CLOSE)
    assert world.cells == 8 + 3 * 2
    torch.testing.assert_close(other.whole(), world.expected(), **CLOSE)
    assert world.cells == len(IDS) * PAIRS


@pytest.mark.parametrize("rows", [[6, 5, 4, 3, 2, 1, 0], [3, 3, 3, 0, 1, 2, 6]])
def test_rows_and_columns_come_in_the_order_in_which_they_are_asked_for(world: World, rows: list[int]) -> None:
    columns = [4, 0, 1, 3, 2]
    found = world.table().at(Block(np.array(rows), np.array(columns)))
    torch.testing.assert_close(found, world.expected()[rows][:, columns], **CLOSE)


def test_nothing_is_asked_for(world: World) -> None:
    assert world.table().at(Block(np.arange(0), np.arange(PAIRS))).shape == (0, PAIRS)
    assert world.loaded == [] and world.store.built == []


def test_a_failed_block_leaves_the_finished_ones(world: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.table(fail_after=ROWS * PAIRS + 4).whole()  # within the first block of the second row of blocks
    assert len(world.store.built) == 3
    assert world.cells == ROWS * PAIRS + 4
    found = world.table().whole()
    torch.testing.assert_close(found, world.expected(), **CLOSE)
    assert world.cells - 4 == len(IDS) * PAIRS  # nothing but the failed block's cells was evaluated twice
    assert len(world.store.built) == 9


def test_another_table_has_blocks_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.table(noise="one")
    first.whole()
    count = world.cells
    world.table(noise="two").whole()
    assert world.cells == 2 * count
    monkeypatch.setattr(loss_table, "BLOCK_ITEMS", ROWS + 1)  # another cut is another address
    torch.testing.assert_close(world.table(noise="one").whole(), first.whole(), **CLOSE)
    assert world.cells == 3 * count


def test_a_computed_table_keeps_nothing(world: World) -> None:
    watched = Watched(world.network)
    table = ComputedTable(world.items, NOISE, LossModel(world.edm, watched, CPU, 4), "Losses")
    torch.testing.assert_close(table.whole(), world.expected(), **CLOSE)
    block = Block(np.array([6, 1]), np.array([4, 1, 0]))
    torch.testing.assert_close(table.at(block), world.expected()[[6, 1]][:, [4, 1, 0]], **CLOSE)
    assert watched.cells == len(IDS) * PAIRS + 6
