"""The one primitive under every loss-based score: the losses of these items at these noise pairs under this model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.networks import Forward, Given


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


@dataclass(frozen=True)
class OwnNoise:
    """Pairs that every item has for itself: ``draw(id)`` makes as many as ``pairs``."""

    draw: Callable[[int], NoiseSet]
    pairs: int

    def __len__(self) -> int:
        return self.pairs


@dataclass(frozen=True)
class View:
    """The items of a split, mirrored or not, each with one of its captions."""

    split: Split
    mirrored: bool = False
    caption: int = 0

    def images(self, ids: Int[np.ndarray, " item"]) -> Float[Tensor, "item channel height width"]:
        """Those images in [-1, 1]."""
        found = self.split.images(ids)
        return found.flip(3) if self.mirrored else found

    def condition(self, ids: Int[np.ndarray, " item"]) -> Float[Tensor, "item condition"] | None:
        """Those conditions."""
        return self.split.condition(ids, self.caption)

    def described(self) -> dict[str, bool | int]:
        """What is unusual about it."""
        return ({"mirrored": True} if self.mirrored else {}) | ({"caption": self.caption} if self.caption else {})


def loss_blocks(
    diffusion: Diffusion,
    network: Forward,
    items: View | Split,
    ids: Int[np.ndarray, " item"],
    noise: NoiseSet | OwnNoise,
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[slice, Float[Tensor, "block pair"]]]:
    """Losses of ``ids`` at every pair of ``noise``, block by block: (places in ``ids``, float32 losses on the CPU).

    ``batch_size`` is the number of (item, pair) evaluations per forward pass; the losses do not depend on it. The
    network must be in evaluation mode. Memory is that of one block, whatever the number of items.
    """
    shared = noise.to(device) if isinstance(noise, NoiseSet) else None
    per_block = max(1, batch_size // len(noise))
    for start in range(0, len(ids), per_block):
        places = slice(start, min(start + per_block, len(ids)))
        chosen = ids[places]
        x = items.images(chosen).to(device)
        condition = items.condition(chosen)
        condition = None if condition is None else condition.to(device)
        if shared is not None:
            yield places, pair_losses(diffusion, network, x, condition, shared, batch_size)
        else:
            assert isinstance(noise, OwnNoise)
            drawn = [noise.draw(int(item)).to(device) for item in chosen]
            yield places, own_losses(diffusion, network, x, condition, drawn, batch_size)


def own_losses(
    diffusion: Diffusion,
    network: Forward,
    x: Float[Tensor, "item channel height width"],
    condition: Float[Tensor, "item condition"] | None,
    noise: list[NoiseSet],
    batch_size: int,
) -> Float[Tensor, "item pair"]:
    """The losses of some images, each at the pairs of its own noise set; float32 on the CPU."""
    pairs = len(noise[0])
    levels, images = torch.cat([own.levels for own in noise]), torch.cat([own.noise for own in noise])
    which = torch.arange(len(x), device=x.device).repeat_interleave(pairs)
    parts = []
    for first in range(0, len(which), batch_size):
        part = slice(first, first + batch_size)
        with torch.inference_mode():
            given = Given(condition)[which[part]]
            parts.append(diffusion.loss(network, x[which[part]], levels[part], images[part], given).float().cpu())
    return torch.cat(parts).view(len(x), pairs)


def pair_losses(
    diffusion: Diffusion,
    network: Forward,
    x: Float[Tensor, "item channel height width"],
    condition: Float[Tensor, "item condition"] | None,
    noise: NoiseSet,
    batch_size: int,
) -> Float[Tensor, "item pair"]:
    """The losses of some images at every pair of ``noise``, all on the network's device; float32 on the CPU."""
    at_once = max(1, batch_size // len(x))  # all pairs, unless those of the images together exceed a batch
    parts = []
    for first in range(0, len(noise), at_once):
        levels, images = noise.levels[first : first + at_once], noise.noise[first : first + at_once]
        with torch.inference_mode():
            losses = diffusion.loss(
                network,
                x.repeat_interleave(len(levels), 0),
                levels.repeat(len(x)),
                images.repeat(len(x), 1, 1, 1),
                Given(condition).repeat_interleave(len(levels)),
            )
        parts.append(losses.view(len(x), len(levels)).float().cpu())
    return torch.cat(parts, dim=1)
