"""Pairs of a noise level and a noise image, drawn before anything is scored at them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.networks import send

Levels = Float[Tensor, " cell"]
Noise = Float[Tensor, "cell *x"]


class Pairs(ABC):
    """A numbered set of pairs; what one is may depend on the item that it is used for."""

    @abstractmethod
    def __len__(self) -> int:
        """How many pairs every item has."""

    @property
    def drawn_together(self) -> int:
        """How many pairs of an item cost no more to take than one of them."""
        return 1

    @abstractmethod
    def take(self, ids: Int[np.ndarray, " cell"], pairs: Int[np.ndarray, " cell"]) -> tuple[Levels, Noise]:
        """Level and unit-normal noise of each cell: of the item ``ids[cell]`` at its pair ``pairs[cell]``."""

    def to(self, device: torch.device) -> "Pairs":
        """The same pairs on another device, where they are held as tensors."""
        return self


@dataclass(frozen=True)
class Counted(Pairs):
    """So many pairs that are not drawn, for counting what is computed at them."""

    count: int
    together: int

    def __len__(self) -> int:
        return self.count

    @property
    def drawn_together(self) -> int:
        """As it is told."""
        return self.together

    def take(self, ids: Int[np.ndarray, " cell"], pairs: Int[np.ndarray, " cell"]) -> tuple[Levels, Noise]:
        """There are none."""
        raise TypeError("pairs that are only counted have neither levels nor noise")


@dataclass(frozen=True)
class NoiseSet(Pairs):
    """The same pairs for every item and every model."""

    levels: Float[Tensor, " pair"]
    noise: Float[Tensor, "pair *x"]

    def __len__(self) -> int:
        return len(self.levels)

    def take(self, ids: Int[np.ndarray, " cell"], pairs: Int[np.ndarray, " cell"]) -> tuple[Levels, Noise]:
        """Whatever the item."""
        index = send(torch.from_numpy(pairs), self.levels.device)
        return self.levels[index], self.noise[index]

    def to(self, device: torch.device) -> "NoiseSet":
        """The same set on another device."""
        return NoiseSet(self.levels.to(device), self.noise.to(device))


@dataclass(frozen=True)
class OwnNoise(Pairs):
    """Pairs that every item has for itself: ``draw(id)`` makes as many as ``count``."""

    draw: Callable[[int], NoiseSet]
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def drawn_together(self) -> int:
        """All of an item."""
        return self.count

    def take(self, ids: Int[np.ndarray, " cell"], pairs: Int[np.ndarray, " cell"]) -> tuple[Levels, Noise]:
        """Drawn once for each item among the cells."""
        items, inverse = np.unique(ids, return_inverse=True)
        noise_sets = [self.draw(int(item)) for item in items]
        levels = torch.stack([noise_set.levels for noise_set in noise_sets])
        noise = torch.stack([noise_set.noise for noise_set in noise_sets])
        index = torch.from_numpy(inverse), torch.from_numpy(pairs)
        return levels[index], noise[index]
