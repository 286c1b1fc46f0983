"""The losses of a block are those of a plain double loop, however the work is cut up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given
from tdattr.scoring.losses import NoiseSet, loss_blocks
from tdattr.seeding import generator, normal

IDS = np.array([40, 3, 17, 8, 0, 47, 21])  # neither sorted nor without gaps
PAIRS = 5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def noise() -> NoiseSet:
    return NoiseSet(torch.tensor([50.0, 5.0, 0.5, 0.05, 0.01]), normal(generator(0, "noise"), PAIRS, 1, 8, 8))


class Watched(nn.Module):
    """A network that notes how many items it sees at a time."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[int] = []

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.batches.append(len(x))
        return self.network(x, c_noise, given)


def everything(blocks: object, count: int = len(IDS)) -> Tensor:
    """The whole matrix, every place of which must come exactly once."""
    losses = torch.full((count, PAIRS), torch.nan)
    for places, block in blocks:  # type: ignore[attr-defined]
        assert block.dtype == torch.float32
        assert losses[places].shape == block.shape
        assert losses[places].isnan().all()
        losses[places] = block
    assert not losses.isnan().any()
    return losses


def double_loop(edm: EDM, network: nn.Module, split: Split, noise: NoiseSet) -> Tensor:
    """One item, one pair, one forward pass at a time."""
    losses = torch.empty(len(IDS), PAIRS)
    for row, index in enumerate(IDS):
        x = torch.from_numpy(split.pixels[index].astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        condition = None if split.conditions is None else torch.from_numpy(split.conditions[index, :1].copy())
        for column in range(PAIRS):
            with torch.no_grad():
                pair = noise.levels[column : column + 1], noise.noise[column : column + 1]
                losses[row, column] = edm.loss(network, x, *pair, Given(condition)).item()
    return losses


@pytest.mark.parametrize("batch_size", [1, 3, PAIRS, 7, 10, 24, 1000])
def test_losses_are_those_of_a_double_loop_whatever_the_batch_size(
    tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, noise: NoiseSet, batch_size: int
) -> None:
    network = Watched(tiny_dit(4, spread=0.2))
    found = everything(loss_blocks(edm, network, tiny_data.train, IDS, noise, batch_size, CPU))
    assert max(network.batches) <= batch_size
    assert sum(network.batches) == len(IDS) * PAIRS
    expected = double_loop(edm, network.network, tiny_data.train, noise)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std(0).min() > 0
    assert expected.std(1).min() > 0


def test_unconditional_data(tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, noise: NoiseSet) -> None:
    bare = Split(tiny_data.train.pixels, None, tiny_data.train.items)
    network = tiny_dit(0, spread=0.2)
    found = everything(loss_blocks(edm, network, bare, IDS, noise, 11, CPU))
    torch.testing.assert_close(found, double_loop(edm, network, bare, noise), rtol=1e-5, atol=1e-5)


def test_only_what_is_asked_for_is_computed(
    tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, noise: NoiseSet
) -> None:
    network = Watched(tiny_dit(4, spread=0.2))
    blocks = loss_blocks(edm, network, tiny_data.train, IDS, noise, 2 * PAIRS, CPU)
    assert network.batches == []
    places, block = next(blocks)
    assert (places, tuple(block.shape), network.batches) == (slice(0, 2), (2, PAIRS), [2 * PAIRS])
    assert [places for places, _ in blocks] == [slice(2, 4), slice(4, 6), slice(6, 7)]
    assert list(loss_blocks(edm, network, tiny_data.train, IDS[:0], noise, 10, CPU)) == []


def test_the_losses_of_an_item_do_not_depend_on_the_others(
    tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, noise: NoiseSet
) -> None:
    network = tiny_dit(4, spread=0.2)
    whole = everything(loss_blocks(edm, network, tiny_data.train, IDS, noise, 100, CPU))
    part = everything(loss_blocks(edm, network, tiny_data.train, IDS[[5, 1]], noise, 100, CPU), 2)
    torch.testing.assert_close(part, whole[[5, 1]], rtol=1e-5, atol=1e-5)
    fewer = NoiseSet(noise.levels[2:4], noise.noise[2:4])
    ((_, block),) = loss_blocks(edm, network, tiny_data.train, IDS, fewer, 100, CPU)
    torch.testing.assert_close(block, whole[:, 2:4], rtol=1e-5, atol=1e-5)


def test_no_gradients_are_kept(
    tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, noise: NoiseSet
) -> None:
    network = tiny_dit(4, spread=0.2)
    for _, block in loss_blocks(edm, network, tiny_data.train, IDS, noise, 10, CPU):
        assert not block.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
