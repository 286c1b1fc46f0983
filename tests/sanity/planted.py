"""A dataset into which is planted what methods must find, and the queries that ask for it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tdattr.data.digits import Digits
from tdattr.data.prepared import Example, Source, one_hot
from tdattr.seeding import generator, normal

CLASSES = 10
EACH = 12  # items of a digit, in the digits' order
ITEMS = np.arange(CLASSES * EACH)
LABELS = np.repeat(np.arange(CLASSES), EACH)
COPIED = np.array([3, 20, 41, 66, 107])  # items that the training set holds once more, behind all others
COPIES = len(ITEMS) + np.arange(len(COPIED))
MARKED = ITEMS[1::13]  # items of all digits with a white corner
WRONG = np.arange(92, 96)  # sevens that the model is told are zeros
NEAR = np.array([5, 30, 55])  # items of which queries are noisy copies
NOISE = 0.1  # of these, in units of pixels in [-1, 1]


def pictures(start: int) -> np.ndarray:
    """``EACH`` images of every digit, uint8 [item, 8, 8, 1], from that one on."""
    images, labels = Digits("label", 0).arrays("train")
    rows = [np.flatnonzero(labels == label)[start : start + EACH] for label in range(CLASSES)]
    return images[np.concatenate(rows)]


def mark(images: np.ndarray) -> np.ndarray:
    """The images with a white corner, which no digit reaches."""
    marked = images.copy()
    marked[:, 6:, :2] = 255
    return marked


@dataclass(frozen=True)
class Planted(Source):
    """Ten digits, told to the model; some twice, some with a mark, some told wrong."""

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(ITEMS) + len(COPIED) if split == "train" else CLASSES

    def examples(self, split: str) -> Iterator[Example]:
        images, told = pictures(0), LABELS.copy()
        images[MARKED] = mark(images[MARKED])
        told[WRONG] = 0
        numbers = [*ITEMS, *COPIED] if split == "train" else ITEMS[::EACH]
        for number in numbers:
            fields = {"label": str(LABELS[number])}
            yield Example(image=images[number], condition=one_hot(int(told[number]), CLASSES), fields=fields)


def queries() -> tuple[Tensor, Tensor, dict[str, slice]]:
    """Images, conditions, and which queries ask for what: near copies of NEAR; unseen digits with the mark; unseen
    sevens as zeros, and the same ones as sevens."""
    seen, unseen = (scale(pictures(start)) for start in (0, EACH))
    near = (seen[NEAR] + NOISE * normal(generator(0, "test.near"), len(NEAR), 1, 8, 8)).clamp(-1, 1)
    others, sevens = np.array([3, 51, 77]), np.array([86, 88, 90])
    marked = scale(mark(pictures(EACH)[others]))
    labels = np.concatenate([LABELS[NEAR], LABELS[others], [0, 0, 0], [7, 7, 7]])
    images = torch.cat([near, marked, unseen[sevens], unseen[sevens]])
    names = ("near", "marked", "wrong", "right")
    return images, torch.eye(CLASSES)[labels], {name: slice(3 * k, 3 * k + 3) for k, name in enumerate(names)}


def scale(images: np.ndarray) -> Tensor:
    """As a network sees them: float [item, 1, 8, 8] in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
