"""The one primitive under every loss-based score: the losses of these items at these noise pairs under this model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.networks import Network


@dataclass(frozen=True)
class NoiseSet:
    """Pre-drawn pairs of a level and a unit-normal noise image that scoring reuses for every item and every model."""

    levels: Float[Tensor, " pair"]
    noise: Float[Tensor, "pair channel height width"]

    def __len__(self) -> int:
        return len(self.levels)

    def to(self, device: torch.device) -> "NoiseSet":
        """The same set on another device."""
        return NoiseSet(self.levels.to(device), self.noise.to(device))


def loss_blocks(
    diffusion: Diffusion,
    network: Network,
    split: Split,
    ids: Int[np.ndarray, " item"],
    noise: NoiseSet,
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[slice, Float[Tensor, "block pair"]]]:
    """Losses of ``ids`` at every pair of ``noise``, block by block: (places in ``ids``, float32 losses on the CPU).

    ``batch_size`` is the number of (item, pair) evaluations per forward pass; the losses do not depend on it. The
    network must be in evaluation mode. Memory is that of one block, whatever the number of items.
    """
    noise = noise.to(device)
    pairs = len(noise)
    per_block = max(1, batch_size // pairs)
    for start in range(0, len(ids), per_block):
        places = slice(start, min(start + per_block, len(ids)))
        chosen = ids[places]
        x = split.images(chosen).to(device)
        condition = split.condition(chosen)
        condition = None if condition is None else condition.to(device)
        parts = []
        for first in range(0, pairs, batch_size):  # one round, unless the noise set alone exceeds a batch
            levels, images = noise.levels[first : first + batch_size], noise.noise[first : first + batch_size]
            with torch.inference_mode():
                losses = diffusion.loss(
                    network,
                    x.repeat_interleave(len(levels), 0),
                    levels.repeat(len(chosen)),
                    images.repeat(len(chosen), 1, 1, 1),
                    None if condition is None else condition.repeat_interleave(len(levels), 0),
                )
            parts.append(losses.view(len(chosen), len(levels)).float().cpu())
        yield places, torch.cat(parts, dim=1)
