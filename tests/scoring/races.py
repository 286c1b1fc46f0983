"""Tables of shifts whose rows are known, and what asks for their cells."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

PAIRS = 100
POSITIONS = np.arange(PAIRS) / PAIRS


@dataclass
class Table:
    """A table that counts how often each of its cells is asked for."""

    values: np.ndarray
    asked: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.asked = np.zeros(self.values.shape, int)

    def __call__(self, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        np.add.at(self.asked, (rows, columns), 1)
        return torch.from_numpy(self.values[rows, columns].astype(np.float32))


def draw(items: int, seed: int, noise: float = 0.02, near: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Shifts as MUCS has them: most items hardly move, some near ones far, all of them more at some levels than at
    others, with errors of heavier tails than normal ones; and the items, those most like the query first."""
    rng = np.random.default_rng(seed)
    size = 0.02 * rng.gamma(2.0, size=items)
    order = rng.permutation(items)
    size[order[:near]] += np.linspace(0.6, 0.05, near)
    profile = 1 + np.sin(np.arange(PAIRS) / PAIRS * np.pi + rng.uniform(0, 3))
    own = rng.normal(size=(items, 8)) @ np.cos(np.outer(np.arange(8), np.arange(PAIRS) / PAIRS * np.pi)) / 8
    shifts = size[:, None] * profile * (1 + 0.3 * own) + noise * np.geomspace(0.1, 3, PAIRS) * rng.standard_t(
        5, size=(items, PAIRS)
    )
    return shifts.astype(np.float32).astype(np.float64), order
