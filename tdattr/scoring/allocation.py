"""Allocation: which cells of a table of shifts are evaluated, and what is known of every item's mean from them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

# ask(rows, columns): the shift at each of these cells, [cell], on the CPU
Ask = Callable[[Int[np.ndarray, " cell"], Int[np.ndarray, " cell"]], Float[Tensor, " cell"]]


@dataclass
class Cells:
    """The shifts that have been asked for; nothing is asked for twice. ``values``: float64, NaN where not ``known``."""

    ask: Ask
    values: Float[np.ndarray, "row column"]
    known: Bool[np.ndarray, "row column"]

    @staticmethod
    def start(ask: Ask, rows: int, columns: int) -> "Cells":
        """A table of which nothing is known yet."""
        return Cells(ask, np.full((rows, columns), np.nan), np.zeros((rows, columns), bool))

    @property
    def complete(self) -> Bool[np.ndarray, " row"]:
        """Whether all of a row is known."""
        return np.asarray(self.known.all(1))

    @property
    def facts(self) -> dict[str, float]:
        """``evaluations``: how many cells are known; ``share_evaluated``: of all."""
        return {"evaluations": int(self.known.sum()), "share_evaluated": float(self.known.mean())}

    @property
    def finite(self) -> bool:
        """Whether everything that is known is a number."""
        return bool(np.isfinite(self.values[self.known]).all())

    def fill(self, wanted: Bool[np.ndarray, "row column"]) -> None:
        """Ask for those of the wanted cells that are not known, all at once."""
        rows, columns = np.nonzero(wanted & ~self.known)
        if len(rows):
            self.values[rows, columns] = self.ask(rows, columns).double().numpy()
            self.known[rows, columns] = True

    def fill_rows(self, rows: Int[np.ndarray, " chosen"]) -> None:
        """All of some rows."""
        wanted = np.zeros(self.known.shape, bool)
        wanted[rows] = True
        self.fill(wanted)

    def fill_columns(self, columns: Int[np.ndarray, " chosen"]) -> None:
        """Some columns of all rows."""
        wanted = np.zeros(self.known.shape, bool)
        wanted[:, columns] = True
        self.fill(wanted)


@dataclass(frozen=True)
class Allocated:
    """What the chosen cells say of the mean of every row: the estimate, its standard error, 0 where all of the row is
    known, and facts about the choice, by name. float64."""

    means: Float[np.ndarray, " row"]
    standard_errors: Float[np.ndarray, " row"]
    facts: dict[str, float] = field(default_factory=dict)
