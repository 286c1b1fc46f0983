"""Tables whose losses an entry gives."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tdattr.scoring.cells import Block, Items
from tdattr.scoring.loss_table import LossTable
from tdattr.scoring.pairs import Pairs


@dataclass(frozen=True, eq=False)
class GivenTable(LossTable):
    """A table of [item, pair] values."""

    items: Items
    pairs: Pairs
    values: Tensor

    def at(self, block: Block) -> Tensor:
        assert self.values.shape == (len(self.items), len(self.pairs))
        return self.values[torch.from_numpy(block.rows)][:, torch.from_numpy(block.columns)]

    def cells(self, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(rows), torch.from_numpy(columns)]
