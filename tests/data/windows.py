"""A dataset whose images are longer than what is seen of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tdattr.data.prepared import Example, Source
from tdattr.errors import UserError

SIDE = 8
SHAPES = [(8, 8), (8, 13), (15, 8), (8, 9), (11, 8), (8, 20), (8, 12)]  # height and width, in turn


@dataclass(frozen=True)
class LongImages(Source):
    """``items`` training and a third as many test items, gray, with two captions; ``stop_at``: reading that item ends
    as a kill would, ``spoilt``: it cannot be read."""

    items: int = 21
    stop_at: int | None = None
    spoilt: int | None = None
    seen: list[int] = field(default_factory=list)

    @property
    def window(self) -> int:
        return SIDE

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return self.items if split == "train" else self.items // 3

    def examples(self, split: str) -> Iterator[Example]:
        for index in range(self.count(split)):
            yield Example(
                lambda index=index: self.read(index, split), self.captions(index), fields={"label": str(index % 2)}
            )

    def read(self, index: int, split: str) -> np.ndarray:
        if split == "train" and index == self.stop_at:
            raise KeyboardInterrupt
        if split == "train" and index == self.spoilt:
            raise UserError(f"{index}.jpg cannot be read: mend or remove it.")
        self.seen.append(index)
        return image(index, split)

    @staticmethod
    def captions(index: int) -> np.ndarray:
        """Two vectors that are alike in nothing."""
        return np.array([[index, 1, 0], [0, 0, -1 - index]], np.float32)


def image(index: int, split: str = "train") -> np.ndarray:
    """The image of an item."""
    shape = SHAPES[index % len(SHAPES)]
    return np.random.default_rng([index, len(split)]).integers(256, size=(*shape, 1), dtype=np.uint8)


def cut(index: int, offset: int, split: str = "train") -> np.ndarray:
    """The window that begins so far along the longer side."""
    whole = image(index, split)
    wide = whole.shape[1] > whole.shape[0]
    return whole[:, offset : offset + SIDE] if wide else whole[offset : offset + SIDE]


def slack(index: int) -> int:
    """How much longer the longer side is."""
    return max(SHAPES[index % len(SHAPES)]) - SIDE
