"""Memory-mapped arrays on their way to another process."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mapped:
    """Stands for a memory-mapped array in a pickle."""

    path: str


class MemoryMapped:
    """The base of dataclasses whose memory-mapped arrays travel as the paths of their files, never as their content."""

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: Mapped(str(value.filename)) if isinstance(value, np.memmap) else value
            for key, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            object.__setattr__(self, key, np.load(value.path, mmap_mode="r") if isinstance(value, Mapped) else value)
