"""The handwritten digits that ship inside scikit-learn: 1 797 items, 8 x 8 gray, no download."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from tdattr.data.prepared import Example, Source, one_hot
from tdattr.errors import UserError
from tdattr.files import digest
from tdattr.ranges import CountOrZero

CLASSES = 10
BRIGHTEST = 16  # the values count the inked pixels of a 4 x 4 block


@dataclass(frozen=True)
class Digits(Source):
    """The test part of UCI's "Optical Recognition of Handwritten Digits", as ``sklearn.datasets.load_digits`` has it.

    ``condition``: ``none`` or ``label`` (one of 10). Every ``held_out``-th item of each digit is test; 0: none.
    """

    condition: Literal["none", "label"]
    held_out: CountOrZero

    def __post_init__(self) -> None:
        if self.held_out == 1:
            raise UserError(f"dataset.source.held_out={self.held_out} leaves nothing to train on: give 0, or 2 and up.")

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of scikit-learn's file, found without the slow import."""
        package = find_spec("sklearn")
        path = Path(package.origin if package and package.origin else "").parent / "datasets" / "data" / "digits.csv.gz"
        if not path.is_file():
            raise UserError("dataset=digits comes with scikit-learn, which is missing: run pip install scikit-learn")
        return {path.name: digest(path)}

    def count(self, split: str) -> int:
        """How many of the 1 797 items belong to the split."""
        return len(self.arrays(split)[1])

    def examples(self, split: str) -> Iterator[Example]:
        """Items in scikit-learn's order; the field ``label`` is the digit."""
        for image, label in zip(*self.arrays(split), strict=True):
            yield Example(
                image=image,
                condition=one_hot(int(label), CLASSES) if self.condition == "label" else None,
                fields={"label": str(label)},
            )

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [item, 8, 8, 1], 0..16 stretched to 0..255, and labels [item]."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = np.rint(images.reshape(-1, 8, 8, 1) * 255 / BRIGHTEST).astype(np.uint8)
        test = np.zeros(len(labels), bool)
        if self.held_out:
            for label in range(CLASSES):
                test[np.flatnonzero(labels == label)[self.held_out - 1 :: self.held_out]] = True
        selected = test == (split == "test")
        return images[selected], labels[selected]
