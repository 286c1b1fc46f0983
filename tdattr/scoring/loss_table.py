"""Tables of losses, [item, pair], that are filled where they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.scoring.cells import Block, Items, LossModel
from tdattr.scoring.pairs import Pairs
from tdattr.store import Build, Plan, share_out

ITEMS, PAIRS = 1024, 16  # of a stored block
FILE = "losses.safetensors"


class LossTable(ABC):
    """The losses of items at pairs under one model."""

    items: Items
    pairs: Pairs

    @abstractmethod
    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """The losses of a block; float32 on the CPU. What is missing is computed."""

    def whole(self) -> Float[Tensor, "item pair"]:
        """All of it."""
        return self.at(Block.whole(self.items, self.pairs))


@dataclass(frozen=True)
class StoredTable(LossTable):
    """A table that many ask for, in fixed blocks of ITEMS x PAIRS, each an artifact: it survives a kill, and jobs share
    it out. ``plan(config, build)``: the artifact of a block; ``load``: the model, loaded when a block is missing."""

    items: Items
    pairs: Pairs
    load: Callable[[], LossModel]
    plan: Callable[[Mapping[str, Any], Build], Plan]
    description: str

    @cached_property
    def model(self) -> LossModel:
        """The model, once."""
        return self.load()

    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """Whole stored blocks are computed, those that hold a cell of ``block``."""
        tops, lefts = np.unique(block.rows // ITEMS), np.unique(block.columns // PAIRS)
        places = [(int(top), int(left)) for top in tops for left in lefts]
        artifacts = share_out([self.plan_block(*place) for place in places], self.description)
        values = torch.full((len(self.items), len(self.pairs)), torch.nan)
        for (top, left), artifact in zip(places, artifacts, strict=True):
            rows, columns = slice(top * ITEMS, (top + 1) * ITEMS), slice(left * PAIRS, (left + 1) * PAIRS)
            values[rows, columns] = load_file(artifact.folder / FILE)["losses"]
        whole = Block.whole(self.items, self.pairs)
        if np.array_equal(block.rows, whole.rows) and np.array_equal(block.columns, whole.columns):
            return values  # without a copy
        return values[torch.from_numpy(block.rows)][:, torch.from_numpy(block.columns)]

    def plan_block(self, top: int, left: int) -> Plan:
        """The artifact of the stored block that is the ``top``-th from above and the ``left``-th from the left."""
        rows = np.arange(top * ITEMS, min((top + 1) * ITEMS, len(self.items)))
        columns = np.arange(left * PAIRS, min((left + 1) * PAIRS, len(self.pairs)))

        def build(folder: Path) -> None:
            losses = self.model.table(self.items, self.pairs, Block(rows, columns))
            save_file({"losses": losses.contiguous()}, folder / FILE)

        return self.plan({"block": [top, left], "size": [ITEMS, PAIRS]}, build)


@dataclass(frozen=True)
class ComputedTable(LossTable):
    """A table that is asked for once, such as that of an unlearned copy: nothing of it is kept."""

    items: Items
    pairs: Pairs
    model: LossModel
    description: str

    def at(self, block: Block) -> Float[Tensor, "item pair"]:
        """Computed now."""
        return self.model.table(self.items, self.pairs, block, self.description)
