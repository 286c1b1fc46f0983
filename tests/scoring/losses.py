"""What the tests of losses share: a noise set, networks that note what they see, and the losses by a plain loop."""

import numpy as np
import torch
from torch import Tensor, nn

from tdattr.data.prepared import Split
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator, normal

IDS = np.array([40, 3, 17, 8, 0, 47, 21])  # neither sorted nor without gaps
PAIRS = 5
CPU = torch.device("cpu")
NOISE = NoiseSet(torch.tensor([50.0, 5.0, 0.5, 0.05, 0.01]), normal(generator(0, "noise"), PAIRS, 1, 8, 8))


class Watched(nn.Module):
    """A network that notes how many items it sees at a time, and fails after so many cells."""

    def __init__(self, network: nn.Module, fail_after: int = 10**9) -> None:
        super().__init__()
        self.network = network
        self.fail_after = fail_after
        self.batches: list[int] = []

    @property
    def cells(self) -> int:
        """How many cells it was asked for."""
        return sum(self.batches)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        if self.cells + len(x) > self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(x))
        return self.network(x, c_noise, given)


def own_noise(item: int) -> NoiseSet:
    """Pairs of an item's own."""
    rng = generator(item, "own")
    return NoiseSet((normal(rng, PAIRS) * 1.2 - 1.2).exp(), normal(rng, PAIRS, 1, 8, 8))


def double_loop(edm: EDM, network: nn.Module, split: Split, own: bool = False, mirrored: bool = False) -> Tensor:
    """The losses of IDS, [item, pair]: one item, one pair, one forward pass at a time."""
    losses = torch.empty(len(IDS), PAIRS)
    for row, index in enumerate(IDS.tolist()):
        pixels = split.pixels[index][:, ::-1] if mirrored else split.pixels[index]
        x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        condition = None if split.conditions is None else torch.from_numpy(split.conditions[index, :1].copy())
        noise = own_noise(index) if own else NOISE
        for column in range(PAIRS):
            with torch.no_grad():
                pair = noise.levels[column : column + 1], noise.noise[column : column + 1]
                losses[row, column] = edm.loss(network, x, *pair, Given(condition)).item()
    return losses
