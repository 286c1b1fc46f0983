"""Cells are the losses of a plain double loop, however the work is cut up."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given
from tdattr.scoring.cells import BatchItems, Block, Items, LossModel, QueryItems, TrainingItems
from tdattr.scoring.pairs import NoiseSet, OwnNoise
from tests.contexts import make_queries
from tests.scoring.losses import CPU, IDS, NOISE, PAIRS, Watched, double_loop, own_noise

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
OWN = OwnNoise(own_noise, PAIRS)


@pytest.fixture
def network(tiny_dit: Callable[..., nn.Module]) -> nn.Module:
    return tiny_dit(4, spread=0.2)


@pytest.fixture
def items(tiny_data: Prepared) -> TrainingItems:
    return TrainingItems(tiny_data.train, IDS)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, PAIRS, 7, 10, 24, 1000])
def test_losses_are_those_of_a_double_loop_whatever_the_batch_size(
    items: TrainingItems, network: nn.Module, edm: EDM, batch_size: int, own: bool
) -> None:
    watched = Watched(network)
    found = LossModel(edm, watched, CPU, batch_size).table(items, OWN if own else NOISE)
    assert found.shape == (len(IDS), PAIRS) and found.dtype == torch.float32
    assert max(watched.batches) <= batch_size
    assert watched.cells == len(IDS) * PAIRS
    expected = double_loop(edm, network, items.split, own)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert expected.std(0).min() > 0
    assert expected.std(1).min() > 0


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_cells_may_be_any_in_any_order(items: TrainingItems, network: nn.Module, edm: EDM, batch_size: int) -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(len(IDS), size=23), rng.integers(PAIRS, size=23)
    for pairs, own in ((NOISE, False), (OWN, True)):
        watched = Watched(network)
        found = LossModel(edm, watched, CPU, batch_size).cells(items, pairs, rows, columns)
        expected = double_loop(edm, network, items.split, own)[rows, columns]
        torch.testing.assert_close(found, expected, **CLOSE)
        assert watched.cells == 23 and max(watched.batches) <= batch_size


def test_unconditional_data(tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM) -> None:
    bare = Split(tiny_data.train.pixels, None, tiny_data.train.items)
    network = tiny_dit(0, spread=0.2)
    found = LossModel(edm, network, CPU, 11).table(TrainingItems(bare, IDS), NOISE)
    torch.testing.assert_close(found, double_loop(edm, network, bare), **CLOSE)


def test_only_what_is_asked_for_is_computed(items: TrainingItems, network: nn.Module, edm: EDM) -> None:
    watched = Watched(network)
    model = LossModel(edm, watched, CPU, 2 * PAIRS)
    whole = model.table(items, NOISE)
    assert watched.batches == [2 * PAIRS, 2 * PAIRS, 2 * PAIRS, PAIRS]
    watched.batches.clear()
    block = Block(np.array([5, 1, 2]), np.array([4, 0]))
    part = model.table(items, NOISE, block)
    assert part.shape == (3, 2) and watched.cells == 6
    torch.testing.assert_close(part, whole[[5, 1, 2]][:, [4, 0]], **CLOSE)
    watched.batches.clear()
    assert model.table(TrainingItems(items.split, IDS[:0]), NOISE).shape == (0, PAIRS)
    assert model.table(items, NOISE, Block(np.arange(2), np.arange(0))).shape == (2, 0)
    assert model.cells(items, NOISE, np.arange(0), np.arange(0)).shape == (0,)
    assert watched.batches == []


def test_the_losses_of_an_item_do_not_depend_on_the_others(items: TrainingItems, network: nn.Module, edm: EDM) -> None:
    model = LossModel(edm, network, CPU, 100)
    for pairs in (NOISE, OWN):
        whole = model.table(items, pairs)
        part = model.table(TrainingItems(items.split, IDS[[5, 1]]), pairs)
        torch.testing.assert_close(part, whole[[5, 1]], **CLOSE)
    fewer = NoiseSet(NOISE.levels[2:4], NOISE.noise[2:4])
    torch.testing.assert_close(model.table(items, fewer), model.table(items, NOISE)[:, 2:4], **CLOSE)


def test_no_gradients_are_kept(items: TrainingItems, network: nn.Module, edm: EDM) -> None:
    found = LossModel(edm, network, CPU, 10).table(items, NOISE)
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_own_noise_follows_the_id_and_is_drawn_once_for_a_batch(
    items: TrainingItems, network: nn.Module, edm: EDM
) -> None:
    drawn: list[int] = []

    def draw(item: int) -> NoiseSet:
        drawn.append(item)
        return own_noise(item)

    LossModel(edm, network, CPU, 1000).table(items, OwnNoise(draw, PAIRS))
    assert sorted(drawn) == sorted(IDS.tolist())
    levels, noise = OWN.take(np.array([47, 3, 47]), np.array([1, 1, 4]))
    for cell, (item, pair) in enumerate([(47, 1), (3, 1), (47, 4)]):
        assert levels[cell] == own_noise(item).levels[pair]
        assert torch.equal(noise[cell], own_noise(item).noise[pair])


def test_a_noise_set_is_the_same_for_every_item() -> None:
    assert len(NOISE) == len(OWN) == PAIRS
    levels, noise = NOISE.take(np.array([9, 4, 9]), np.array([3, 0, 3]))
    assert torch.equal(levels, NOISE.levels[[3, 0, 3]]) and torch.equal(noise, NOISE.noise[[3, 0, 3]])
    copy = NOISE.to(CPU)
    assert torch.equal(copy.levels, NOISE.levels) and torch.equal(copy.noise, NOISE.noise)


def test_mirrored_items_and_other_captions(tiny_data: Prepared, network: nn.Module, edm: EDM) -> None:
    known = np.array(tiny_data.train.conditions)
    two = replace(tiny_data.train, conditions=np.concatenate([known, np.roll(known, 1, axis=2)], axis=1))
    other = replace(tiny_data.train, conditions=np.roll(known, 1, axis=2))
    model = LossModel(edm, network, CPU, 100)
    for mirrored in (False, True):
        for caption, split in ((0, tiny_data.train), (1, other)):
            chosen = TrainingItems(two, IDS, mirrored, caption)
            expected = double_loop(edm, network, split, mirrored=mirrored)
            torch.testing.assert_close(model.table(chosen, NOISE), expected, **CLOSE)
    assert TrainingItems(two, IDS).describe() == {"mirrored": False, "caption": 0}
    assert TrainingItems(two, IDS, True, 1).describe() == {"mirrored": True, "caption": 1}


def test_queries_and_batches_are_items_too(tiny_data: Prepared, network: nn.Module, edm: EDM) -> None:
    x, condition = tiny_data.train.x(IDS), tiny_data.train.condition(IDS)
    model, expected = LossModel(edm, network, CPU, 8), double_loop(edm, network, tiny_data.train)
    queries = make_queries(x, tiny_data.train.items, condition)
    batch = Batch(x, torch.ones(len(x)), torch.zeros_like(x), Given(condition))
    every: list[Items] = [QueryItems(queries), BatchItems(batch)]
    for items in every:
        assert items.ids.tolist() == list(range(len(IDS))) and len(items) == len(IDS)
        torch.testing.assert_close(model.table(items, NOISE), expected, **CLOSE)
    bare = QueryItems(make_queries(x, tiny_data.train.items))
    assert bare.take(np.array([1]))[1].condition is None


def test_what_is_asked_of_a_cell_may_be_something_else(items: TrainingItems, network: nn.Module, edm: EDM) -> None:
    def level_and_mean(
        diffusion: Diffusion, network: nn.Module, x: Tensor, level: Tensor, noise: Tensor, given: Given
    ) -> Tensor:
        assert diffusion is edm and given.condition is not None
        return level.double() + x.double().flatten(1).mean(1) + noise.double().flatten(1).mean(1)

    found = LossModel(edm, network, CPU, 4, level_and_mean).table(items, NOISE)
    means = items.split.x(IDS).double().flatten(1).mean(1)
    expected = means[:, None] + (NOISE.levels.double() + NOISE.noise.double().flatten(1).mean(1))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected)


def test_a_block_is_cut_into_whole_rows_where_they_fit() -> None:
    block = Block(np.array([4, 2, 9, 7, 1]), np.array([3, 0]))
    for size in (4, 5):
        assert [part.rows.tolist() for part in block.cut(size)] == [[4, 2], [9, 7], [1]]
        assert all(part.columns.tolist() == [3, 0] for part in block.cut(size))
    assert [(part.rows.tolist(), part.columns.tolist()) for part in block.cut(1)[:3]] == [
        ([4], [3]),
        ([4], [0]),
        ([2], [3]),
    ]
    rows, columns = Block(np.array([4, 2]), np.array([3, 0])).cells()
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(4, 3), (4, 0), (2, 3), (2, 0)]
