"""Cells, (item, pair): the network evaluations under every loss-based score, and the one loop that makes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.networks import Given
from tdattr.progress import track
from tdattr.queries import Queries
from tdattr.scoring.pairs import Pairs
from tdattr.scoring.precision import network_precision
from tdattr.training.config import ScoringPrecision

Value = Callable[[Diffusion, nn.Module, Tensor, Tensor, Tensor, Given], Tensor]
Indices = Int[np.ndarray, " _index"]


class Items(ABC):
    """Numbered items as a network sees them."""

    @property
    @abstractmethod
    def ids(self) -> Int[np.ndarray, " item"]:
        """The keys by which an item's own noise is drawn, where it has its own."""

    @abstractmethod
    def take(self, indices: Indices) -> tuple[Float[Tensor, "item *x"], Given]:
        """Some of them, on the CPU."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class TrainingItems(Items):
    """Items of a split, mirrored or not, each with one of its captions."""

    split: Split
    selected: Int[np.ndarray, " item"]
    mirrored: bool = False
    caption: int = 0

    @property
    def ids(self) -> Int[np.ndarray, " item"]:
        """The ids in the training split."""
        return self.selected

    def take(self, indices: Indices) -> tuple[Float[Tensor, "item *x"], Given]:
        """Those at these indices of ``ids``."""
        ids = self.selected[indices]
        return self.split.x(ids, self.mirrored), Given(self.split.condition(ids, self.caption))

    def describe(self) -> dict[str, bool | int]:
        """Side and caption, for the address of what is computed from the items."""
        return {"mirrored": self.mirrored, "caption": self.caption}


@dataclass(frozen=True)
class QueryItems(Items):
    """The queries."""

    queries: Queries

    @property
    def ids(self) -> Int[np.ndarray, " item"]:
        """Their indices."""
        return np.arange(len(self.queries))

    def take(self, indices: Indices) -> tuple[Float[Tensor, "item *x"], Given]:
        """Those at these indices."""
        index = torch.from_numpy(indices)
        conditions = self.queries.conditions
        return self.queries.x[index], Given(None if conditions is None else conditions[index])


@dataclass(frozen=True)
class BatchItems(Items):
    """The items of a batch, whose noise is drawn."""

    batch: Batch

    @property
    def ids(self) -> Int[np.ndarray, " item"]:
        """Their indices."""
        return np.arange(len(self.batch))

    def take(self, indices: Indices) -> tuple[Float[Tensor, "item *x"], Given]:
        """Those at these indices."""
        index = torch.from_numpy(indices)
        return self.batch.x[index], self.batch.given[index]


def loss(
    diffusion: Diffusion, network: nn.Module, x: Tensor, level: Tensor, noise: Tensor, given: Given
) -> Float[Tensor, " cell"]:
    """The training loss of each cell; float32."""
    return diffusion.loss(network, x, level, noise, given).float()


@dataclass(frozen=True)
class LossModel:
    """A network and the value that is computed at each cell: its ``loss``, or another ``value``.

    The network must be in evaluation mode. Apart from rounding, results do not depend on ``batch_size``, the number of
    cells in a forward pass. ``precision``: of the network; None: whatever torch is set to.
    """

    diffusion: Diffusion
    network: nn.Module
    device: torch.device
    batch_size: int
    value: Value = loss
    precision: ScoringPrecision | None = None

    def cells(
        self,
        items: Items,
        pairs: Pairs,
        rows: Int[np.ndarray, " cell"],
        columns: Int[np.ndarray, " cell"],
        description: str | None = None,
    ) -> Float[Tensor, " cell"]:
        """The value of the item ``rows[cell]`` at the pair ``columns[cell]`` for each cell, on the CPU: the only loop
        over forward passes of losses. Memory is that of one batch. With a progress bar where it has a
        ``description``."""
        pairs = pairs.to(self.device)
        values = []
        starts = range(0, len(rows), self.batch_size)
        for start in starts if description is None else track(starts, description, len(starts), nested=True):
            part = slice(start, start + self.batch_size)
            distinct, inverse = np.unique(rows[part], return_inverse=True)
            x, given = items.take(distinct)
            index = torch.from_numpy(inverse).to(self.device)
            levels, noise = pairs.take(items.ids[rows[part]], columns[part])
            x, given = x.to(self.device)[index], given.to(self.device)[index]
            with torch.inference_mode(), self.precisely():
                value = self.value(
                    self.diffusion, self.network, x, levels.to(self.device), noise.to(self.device), given
                )
            values.append(value.cpu())
        return torch.cat(values) if values else torch.empty(0)

    def precisely(self) -> AbstractContextManager[None]:
        """The precision of the network."""
        return nullcontext() if self.precision is None else network_precision(self.precision, self.device)

    def table(
        self, items: Items, pairs: Pairs, block: "Block | None" = None, description: str | None = None
    ) -> Float[Tensor, "item pair"]:
        """Every pair of every item, or those of ``block``, whole items at a time; with a progress bar where it has a
        ``description``."""
        block = Block.whole(items, pairs) if block is None else block
        if not len(block.rows) or not len(block.columns):
            return torch.empty(len(block.rows), len(block.columns))
        pairs = pairs.to(self.device)
        values = []
        batches = list(block.batches(self.batch_size))
        for rows in batches if description is None else track(batches, description, len(batches), nested=True):
            part = Block(rows, block.columns)
            values.append(self.cells(items, pairs, *part.cells()).view(len(rows), -1))
        return torch.cat(values)


@dataclass(frozen=True)
class Block:
    """Every listed pair of every listed item."""

    rows: Int[np.ndarray, " row"]
    columns: Int[np.ndarray, " column"]

    @staticmethod
    def whole(items: Items, pairs: Pairs) -> "Block":
        """All pairs of all items."""
        return Block(np.arange(len(items)), np.arange(len(pairs)))

    def batches(self, size: int) -> Iterator[Indices]:
        """The rows in parts of at most ``size`` cells, at least one row each."""
        step = max(1, size // len(self.columns))
        return (self.rows[start : start + step] for start in range(0, len(self.rows), step))

    def cells(self) -> tuple[Indices, Indices]:
        """The row and the column of every cell, row by row."""
        return np.repeat(self.rows, len(self.columns)), np.tile(self.columns, len(self.rows))
