"""Tables of losses, [item, pair], computed block by block when a block is needed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.scoring.cells import Block, Indices, Items, LossModel
from tdattr.scoring.pairs import Pairs
from tdattr.store import Build, Plan, share_out

BLOCK_ITEMS, BLOCK_PAIRS = 1024, 16  # rows and columns of a stored block; more columns where pairs are drawn together
FILE = "losses.safetensors"


class LossTable(ABC):
    """The losses of items at pairs under one model."""

    items: Items
    pairs: Pairs

    @abstractmethod
    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """The losses of a block; float32 on the CPU. What is missing is computed."""

    @abstractmethod
    def cells(self, rows: Indices, columns: Indices) -> Float[Tensor, " cell"]:
        """The loss of the item ``rows[cell]`` at the pair ``columns[cell]`` for each cell; as ``at``."""

    def whole(self) -> Float[Tensor, "item pair"]:
        """All of it."""
        return self.at(Block.whole(self.items, self.pairs))


@dataclass(frozen=True, eq=False)
class StoredTable(LossTable):
    """A table that many ask for, in fixed blocks, each an artifact: it survives a kill, and
    jobs share it out. ``plan(config, build)``: the artifact of a block; ``load``: the model, loaded where a block is
    missing and then let go; ``needs``: what it is built from. What has been read stays in memory."""

    items: Items
    pairs: Pairs
    load: Callable[[], LossModel]
    plan: Callable[[Mapping[str, Any], Build], Plan]
    description: str
    needs: Sequence[Plan] = ()

    @cached_property
    def values(self) -> Float[Tensor, "item pair"]:
        """What has been read; NaN elsewhere."""
        return torch.full((len(self.items), len(self.pairs)), torch.nan)

    @property
    def columns(self) -> int:
        """How many columns a block has."""
        return max(BLOCK_PAIRS, self.pairs.drawn_together)

    @cached_property
    def stored(self) -> set[tuple[int, int]]:
        """The blocks that have been read."""
        return set()

    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """Whole stored blocks are computed, those that hold a cell of ``block``."""
        tops, lefts = np.unique(block.rows // BLOCK_ITEMS), np.unique(block.columns // self.columns)
        self.read([(int(top), int(left)) for top in tops for left in lefts])
        whole = Block.whole(self.items, self.pairs)
        if np.array_equal(block.rows, whole.rows) and np.array_equal(block.columns, whole.columns):
            return self.values  # without a copy
        return self.values[torch.from_numpy(block.rows)][:, torch.from_numpy(block.columns)]

    def cells(self, rows: Indices, columns: Indices) -> Float[Tensor, " cell"]:
        """Whole stored blocks are computed, those that hold one of the cells."""
        places = np.unique(np.stack([rows // BLOCK_ITEMS, columns // self.columns]), axis=1)
        self.read([(int(top), int(left)) for top, left in places.T])
        return self.values[torch.from_numpy(rows), torch.from_numpy(columns)]

    def read(self, blocks: list[tuple[int, int]]) -> None:
        """Bring those blocks, by row and column of the grid, into memory; what is missing is computed."""
        model = cache(self.load)
        missing = [block for block in blocks if block not in self.stored]
        artifacts = share_out([self.plan_block(*block, model) for block in missing], self.description)
        for (top, left), artifact in zip(missing, artifacts, strict=True):
            rows, columns = (
                slice(top * BLOCK_ITEMS, (top + 1) * BLOCK_ITEMS),
                slice(left * self.columns, (left + 1) * self.columns),
            )
            self.values[rows, columns] = load_file(artifact.folder / FILE)["losses"]
            self.stored.add((top, left))

    def plan_blocks(self) -> list[Plan]:
        """The artifacts of all stored blocks."""
        tops = range(math.ceil(len(self.items) / BLOCK_ITEMS))
        lefts = range(math.ceil(len(self.pairs) / self.columns))
        model = cache(self.load)
        return [self.plan_block(top, left, model) for top in tops for left in lefts]

    def plan_block(self, top: int, left: int, model: Callable[[], LossModel]) -> Plan:
        """The artifact of the stored block that is the ``top``-th from above and the ``left``-th from the left."""
        rows = np.arange(top * BLOCK_ITEMS, min((top + 1) * BLOCK_ITEMS, len(self.items)))
        columns = np.arange(left * self.columns, min((left + 1) * self.columns, len(self.pairs)))

        def build(folder: Path) -> None:
            losses = model().table(self.items, self.pairs, Block(rows, columns))
            save_file({"losses": losses.contiguous()}, folder / FILE)

        cells = len(rows) * len(columns)
        cost = Cost(Work(evaluations=cells, bytes=cells * NUMBER_BYTES), self.needs)
        return self.plan({"block": [top, left], "size": [BLOCK_ITEMS, self.columns]}, build).costing(lambda: cost)


@dataclass(frozen=True)
class ComputedTable(LossTable):
    """A table that is used once, such as that of an unlearned copy: nothing of it is stored."""

    items: Items
    pairs: Pairs
    model: LossModel
    description: str

    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """Computed now."""
        return self.model.table(self.items, self.pairs, block, self.description)

    def cells(self, rows: Indices, columns: Indices) -> Float[Tensor, " cell"]:
        """Computed now."""
        return self.model.cells(self.items, self.pairs, rows, columns, self.description)
