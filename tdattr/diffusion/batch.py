"""Noised items as loaders hand them to trainings and unlearnings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdattr.networks import NOTHING, Given, move


@dataclass(frozen=True)
class Batch:
    """Items, each at a noise level and a noise of its own, and what the network is told of them.

    ``ids``: which training items they are, where they are some; ``mirrored``: which of them are flipped; ``counts``:
    what the loss of each is multiplied by in a training, None: 1.
    """

    x: Float[Tensor, "batch *shape"]
    level: Float[Tensor, " batch"]
    noise: Float[Tensor, "batch *shape"]
    given: Given = NOTHING
    ids: Int[Tensor, " batch"] | None = None
    mirrored: Bool[Tensor, " batch"] | None = None
    counts: Float[Tensor, " batch"] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: slice | Tensor) -> "Batch":
        """Some of the items."""
        return self.apply(lambda value: value[which])

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Given]:
        """What ``Diffusion.loss``, ``residual`` and ``predicted_noise`` take after the network."""
        return self.x, self.level, self.noise, self.given

    def apply(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with ``function`` applied to every tensor."""
        others = (None if part is None else function(part) for part in (self.ids, self.mirrored, self.counts))
        given = self.given.apply(function)
        return Batch(function(self.x), function(self.level), function(self.noise), given, *others)

    @classmethod
    def join(cls, parts: Sequence["Batch"]) -> "Batch":
        """All of several batches after each other."""

        def cat(values: Sequence[Tensor | None]) -> Tensor | None:
            there = [value for value in values if value is not None]
            return torch.cat(there) if there else None

        given = Given(
            cat([part.given.condition for part in parts]),
            cat([part.given.drop for part in parts]),
            cat([part.given.augmentation for part in parts]),
        )
        x, level, noise = (torch.cat(values) for values in zip(*((p.x, p.level, p.noise) for p in parts), strict=True))
        counts = [part.counts for part in parts]
        if any(each is not None for each in counts):
            counts = [part.level.new_ones(len(part)) if part.counts is None else part.counts for part in parts]
        others = ([part.ids for part in parts], [part.mirrored for part in parts], counts)
        return cls(x, level, noise, given, *map(cat, others))

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return self.apply(lambda value: move(value, device))

    def pin_memory(self) -> "Batch":
        """The same in memory from which a GPU copies in the background."""
        return self.apply(lambda value: value.pin_memory())
