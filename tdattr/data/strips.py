"""Images of different shapes that are seen through square windows, in one memory-mapped array.

Their shorter side is the same for all. An image is a strip of lines of that length, the columns of a wide image and the
rows of any other, and all strips follow each other: a window is a run of lines, wherever in the image it lies.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from tdattr.data.images import centre
from tdattr.data.mapped import MemoryMapped


@dataclass(frozen=True)
class Strips(MemoryMapped):
    """Images of different shapes; indexed like an array [item, side, side, channel], it gives their central windows."""

    lines: np.ndarray  # uint8 [line, side, channel], memory-mapped
    spans: np.ndarray  # int64 [item, 3]: the first line of each image, its height and its width; memory-mapped

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Items, height and width of a window, channels."""
        side, channels = self.lines.shape[1:]
        return len(self), side, side, channels

    def __getitem__(self, ids: Any) -> UInt8[np.ndarray, "..."]:
        """The central windows."""
        chosen = np.arange(len(self))[ids]
        windows = self.windows(np.atleast_1d(chosen))
        return windows if np.ndim(chosen) else windows[0]

    def windows(
        self, ids: Int[np.ndarray, " batch"], position: Float[np.ndarray, " batch"] | None = None
    ) -> UInt8[np.ndarray, "batch side side channel"]:
        """A window of each image: the central one, or the one that ``position``, drawn from [0, 1), chooses among all
        that there are, each with the same probability."""
        _, side, _, channels = self.shape
        windows = np.empty((len(ids), side, side, channels), np.uint8)
        for index, (first, height, width) in enumerate(self.spans[ids].tolist()):
            length = max(height, width)
            offset = centre(length, side) if position is None else int(position[index] * (length - side + 1))
            lines = self.lines[first + offset : first + offset + side]
            windows[index] = lines.transpose(1, 0, 2) if width > height else lines
        return windows


def cut_lines(image: UInt8[np.ndarray, "height width channel"]) -> UInt8[np.ndarray, "line side channel"]:
    """The lines of an image, each as long as its shorter side."""
    return image.transpose(1, 0, 2) if image.shape[1] > image.shape[0] else image
