"""The state of a training between two steps, as one row of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.networks import Network

PARTS = ("weights", "first_moment", "second_moment", "average")


@dataclass(frozen=True)
class Layout:
    """Where the trained parameters of a network stand in a row."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @property
    def size(self) -> int:
        """The numbers of one part of a state."""
        return sum(shape.numel() for shape in self.shapes)

    def split(self, row: Float[Tensor, " parameter"]) -> dict[str, Tensor]:
        """A row as parameters by name; views of it."""
        parts = row.split([shape.numel() for shape in self.shapes])
        return {name: part.view(shape) for name, shape, part in zip(self.names, self.shapes, parts, strict=True)}

    def join(self, values: Mapping[str, Tensor]) -> Float[Tensor, " parameter"]:
        """Parameters by name as a row."""
        return torch.cat([values[name].detach().flatten() for name in self.names])


def outline(network: Network) -> Layout:
    """The layout of what a training changes of a network."""
    trained = [(name, value.shape) for name, value in network.named_parameters() if value.requires_grad]
    return Layout(tuple(name for name, _ in trained), tuple(shape for _, shape in trained))


def find_weights(state: Float[Tensor, " state"], kept: str) -> Float[Tensor, " parameter"]:
    """The trained weights of a state, ``raw``, or their average, ``ema``."""
    return parts(state)[find_part(kept)]


def find_part(kept: str) -> int:
    """Which part of a state the weights of that name are."""
    return PARTS.index({"raw": "weights", "ema": "average"}[kept])


def parts(state: Float[Tensor, " state"]) -> tuple[Tensor, ...]:
    """The parts of a state, in the order of ``PARTS``."""
    return state.chunk(len(PARTS))
