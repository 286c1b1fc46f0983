"""Random projections of gradients, seeded and made block by block, so that no matrix is ever held whole."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.progress import track
from tdattr.ranges import Count
from tdattr.seeding import torch_seed

MATRIX_ENTRIES = 1 << 26  # held at a time: 256 MB in float32


@dataclass(frozen=True)
class ProjectionConfig(Settings):
    """``dimension`` random combinations of the parameters whose inner products are unbiased (Johnson & Lindenstrauss).

    ``rademacher``: every entry is ±1/√dimension (Achlioptas 2003; TRAK, arXiv 2303.14186). ``normal``: drawn from
    N(0, 1/dimension) (D-TRAK and DAS). ``sparse``: every parameter goes into ``nonzeros`` random coordinates with
    ±1/√nonzeros (Kane & Nelson 2014), much cheaper for many parameters. ``none``: the parameters themselves.
    """

    kind: Literal["rademacher", "normal", "sparse", "none"]
    dimension: Count
    nonzeros: Count

    def __post_init__(self) -> None:
        if self.dimension % 8:
            raise UserError(f"gradients.projection.dimension={self.dimension} must be a multiple of 8.")
        if self.nonzeros > self.dimension:
            raise UserError(f"gradients.projection.nonzeros={self.nonzeros} must be at most the dimension.")

    def unread(self) -> dict[str, str]:
        """What other kinds read."""
        names = {"none": ("dimension", "nonzeros"), "sparse": ()}.get(self.kind, ("nonzeros",))
        return dict.fromkeys(names, f"kind={self.kind}")

    def size(self, parameters: int) -> int:
        """The length of the vectors that come out."""
        return parameters if self.kind == "none" else self.dimension

    def count_numbers(self, parameters: int) -> int:
        """How many random numbers the matrix for gradients of so many parameters has."""
        return parameters * {"none": 0, "sparse": self.nonzeros}.get(self.kind, self.dimension)

    def own_damping(self, published: float) -> float:
        """What to add to the kernel of these features for a damping in the published unit.

        The references' projections have entries ±1 or N(0, 1), not divided by the root of the dimension: they multiply
        squared lengths, and with them the kernel, by the dimension. Without a projection nothing is multiplied, and a
        damping is added as it is.
        """
        return published if self.kind == "none" else published / self.dimension


def project(
    gradients: Float[Tensor, "item parameter"], config: ProjectionConfig, seed: int, description: str | None = None
) -> Float[Tensor, "item feature"]:
    """The projected gradients: the same matrix for the same seed and kind of device, whatever the number of items. With
    a progress bar where it has a ``description``."""
    if config.kind == "none":
        return gradients
    features = gradients.new_zeros(len(gradients), config.dimension)
    per_parameter = config.nonzeros if config.kind == "sparse" else config.dimension
    rows = min(max(1, MATRIX_ENTRIES // per_parameter), gradients.shape[1])
    # for one block of the matrix after another: fresh memory for each takes as long as drawing it
    memory = gradients.new_empty(0 if config.kind == "sparse" else rows * config.dimension)
    blocks = list(spans(gradients.shape[1], rows))
    numbered = enumerate(blocks)
    for number, span in numbered if description is None else track(numbered, description, len(blocks), nested=True):
        rng = torch.Generator(gradients.device).manual_seed(torch_seed(seed, "projection", number))
        block = gradients[:, span]
        if config.kind == "rademacher":
            features += block @ signs(block.shape[1], config.dimension, rng, memory)
        elif config.kind == "normal":
            matrix = memory[: block.shape[1] * config.dimension].view(-1, config.dimension)
            features += block @ torch.randn(matrix.shape, generator=rng, device=rng.device, out=matrix)
        else:
            for _ in range(config.nonzeros):
                coordinates = torch.randint(config.dimension, (block.shape[1],), generator=rng, device=rng.device)
                features.index_add_(1, coordinates, block * signs(block.shape[1], 8, rng)[:, 0])
    return features / math.sqrt(per_parameter)


def signs(
    rows: int, columns: int, rng: torch.Generator, memory: Float[Tensor, " entry"] | None = None
) -> Float[Tensor, "row column"]:
    """Random ±1, eight of them out of every random byte, which a table turns into them in one pass over memory; written
    into ``memory``, of at least so many entries, where it is given."""
    random_bytes = torch.randint(256, (rows * columns // 8,), generator=rng, device=rng.device, dtype=torch.uint8)
    byte_values = torch.arange(256, device=rng.device, dtype=torch.uint8)[:, None]
    table = (byte_values >> torch.arange(8, device=rng.device, dtype=torch.uint8) & 1).float() * 2 - 1
    out = None if memory is None else memory[: rows * columns].view(-1, 8)
    return torch.index_select(table, 0, random_bytes.int(), out=out).view(rows, columns)


def spans(total: int, size: int) -> Iterator[slice]:
    """0 … total in pieces of ``size``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
