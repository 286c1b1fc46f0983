"""Allocation: which cells of a table are evaluated next, given what is known so far."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.scoring.cells import Block


@dataclass(frozen=True)
class Estimate:
    """What the cells so far say of every item: the mean over its cells, its standard error, and their number.

    The standard error is infinite where there are fewer than two cells, the mean NaN where there are none.
    """

    mean: Float[Tensor, " item"]
    standard_error: Float[Tensor, " item"]
    cells: Int[Tensor, " item"]


class Rounds(ABC):
    """One attribution's choice of cells, round by round."""

    @abstractmethod
    def next(self, estimate: Estimate | None) -> Block | None:
        """The next cells to evaluate; None: enough is known. ``estimate``: None before the first round."""


class AllCells(Rounds):
    """Every cell, in one round."""

    def __init__(self, block: Block) -> None:
        self.block: Block | None = block

    def next(self, estimate: Estimate | None) -> Block | None:
        """The whole block, once."""
        block, self.block = self.block, None
        return block


class Tally:
    """Sums over the cells of every item."""

    def __init__(self, items: int) -> None:
        self.total, self.squares = torch.zeros(2, items)  # of the values, and of their distances from the mean
        self.cells = torch.zeros(items, dtype=torch.int64)

    def add(self, block: Block, values: Float[Tensor, "item pair"]) -> None:
        """Count the values of a block."""
        rows, added = torch.from_numpy(block.rows), values.shape[1]
        before = self.cells[rows]
        variance, mean = torch.var_mean(values, 1, correction=0)  # a difference of sums of squares would lose digits
        gap = self.total[rows] / before.clamp(min=1) - mean
        self.squares[rows] += added * variance + gap.square() * before * added / (before + added)
        self.total[rows] += values.sum(1)
        self.cells[rows] += added

    def mean(self) -> Float[Tensor, " item"]:
        """The mean of every item."""
        return self.total / self.cells

    def estimate(self) -> Estimate:
        """The mean of every item and its standard error."""
        variance = self.squares / (self.cells - 1).clamp(min=1)
        error = torch.where(self.cells > 1, (variance / self.cells).sqrt(), torch.inf)
        return Estimate(self.mean(), error, self.cells.clone())
