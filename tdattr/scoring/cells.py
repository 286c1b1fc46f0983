"""Cells, (item, pair): the network evaluations under every loss-based score, and the one loop that makes them."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.networks import Given, send
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
        """The value of the item ``rows[cell]`` at the pair ``columns[cell]`` for each cell, on the CPU. Memory is that
        of a batch. With a progress bar where it has a ``description``."""
        starts = range(0, len(rows), self.batch_size)
        parts = (slice(start, start + self.batch_size) for start in starts)
        return self.evaluate(items, pairs, ((rows[part], columns[part]) for part in parts), len(starts), description)

    def evaluate(
        self,
        items: Items,
        pairs: Pairs,
        batches: Iterable[tuple[Indices, Indices]],
        count: int,
        description: str | None,
    ) -> Float[Tensor, " cell"]:
        """The values at the rows and columns of so many batches, one after the other: the only loop over forward passes
        of losses. It fetches the next batch while a GPU computes one: nothing waits for a value before the last."""
        pairs = pairs.to(self.device)
        values = []
        for rows, columns in batches if description is None else track(batches, description, count, nested=True):
            distinct, inverse = np.unique(rows, return_inverse=True)
            x, given = items.take(distinct)
            levels, noise = pairs.take(items.ids[rows], columns)
            index, x, levels, noise = (
                send(value, self.device) for value in (torch.from_numpy(inverse), x, levels, noise)
            )
            given = given.apply(lambda value: send(value, self.device))
            with torch.inference_mode(), self.precisely():
                values.append(self.value(self.diffusion, self.network, x[index], levels, noise, given[index]))
        return torch.cat(values).cpu() if values else torch.empty(0)

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
        parts = block.cut(self.batch_size)
        values = self.evaluate(items, pairs, (part.cells() for part in parts), len(parts), description)
        return values.view(len(block.rows), -1)


@dataclass(frozen=True)
class Block:
    """Every listed pair of every listed item."""

    rows: Int[np.ndarray, " row"]
    columns: Int[np.ndarray, " column"]

    @staticmethod
    def whole(items: Items, pairs: Pairs) -> "Block":
        """All pairs of all items."""
        return Block(np.arange(len(items)), np.arange(len(pairs)))

    def cut(self, size: int) -> list["Block"]:
        """Parts of at most ``size`` cells: whole rows, where a row is no larger."""
        width = len(self.columns)
        step = max(1, size // width)
        rows = [self.rows[start : start + step] for start in range(0, len(self.rows), step)]
        columns = [self.columns[start : start + size] for start in range(0, width, size)]
        return [Block(*part) for part in itertools.product(rows, columns)]

    def cells(self) -> tuple[Indices, Indices]:
        """The row and the column of every cell, row by row."""
        return np.repeat(self.rows, len(self.columns)), np.tile(self.columns, len(self.rows))
