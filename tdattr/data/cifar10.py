"""CIFAR-10 (Krizhevsky, 2009): 50 000 + 10 000 colour photographs, 32 x 32, ten classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tdattr.data.prepared import Example, digest, one_hot
from tdattr.data.safe_pickle import read_pickle
from tdattr.errors import UserError

FOLDER = "cifar-10-batches-py"
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
META = "batches.meta"
CONDITIONS = ["none", "label"]
CLASSES = 10


@dataclass(frozen=True)
class Cifar10:
    """The "python version" of https://www.cs.toronto.edu/~kriz/cifar.html.

    ``root`` is the folder ``cifar-10-batches-py`` or the one that contains it. ``condition``: ``none`` or ``label``.
    """

    root: str
    condition: str

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise UserError(f"dataset.source.condition={self.condition} is unknown: choose none or label.")

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each file. Raises UserError where one is missing."""
        return {name: digest(path) for name, path in self.files().items()}

    def count(self, split: str) -> int:
        """50 000 or 10 000. Reads every batch, so that a damaged one is found before anything is prepared."""
        files = self.files()
        read_names(files[META])
        counts = {name: sum(len(read_batch(files[batch])[1]) for batch in BATCHES[name]) for name in BATCHES}
        return counts[split]

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the published order, batch by batch; the field ``label`` is the class name."""
        files = self.files()
        names = read_names(files[META])
        for batch in BATCHES[split]:
            for image, label in zip(*read_batch(files[batch]), strict=True):
                yield Example(
                    image=image,
                    condition=one_hot(label, CLASSES) if self.condition == "label" else None,
                    fields={"label": names[label]},
                )

    def files(self) -> dict[str, Path]:
        """Every file of the dataset. Raises UserError where one is missing."""
        wanted = [*BATCHES["train"], *BATCHES["test"], META]
        root = Path(self.root).expanduser()
        folder = next((place for place in (root, root / FOLDER) if (place / wanted[0]).is_file()), root / FOLDER)
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"CIFAR-10 is not in {root} ({', '.join(missing)} missing): give its folder with "
                "dataset.source.root=<folder>, or fetch it with "
                f"python -c \"from torchvision.datasets import CIFAR10; CIFAR10('{root}', download=True)\""
            )
        return {name: folder / name for name in wanted}


def read_batch(path: Path) -> tuple[np.ndarray, list[int]]:
    """Images uint8 [item, 32, 32, 3] and labels of one file. Raises UserError where it is damaged.

    A file is a dictionary of ``data``, uint8 [item, 3072]: red, then green, then blue, each row by row; and ``labels``,
    a list of 0..9.
    """
    content = read_pickle(path)
    data, labels = content.get("data"), content.get("labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
        raise UserError(f"{path} holds no images of 3 x 32 x 32 bytes under data: delete it and fetch it again.")
    if not isinstance(labels, list) or len(labels) != len(data) or any(label not in range(CLASSES) for label in labels):
        raise UserError(f"{path} does not hold one label of 0..9 per image: delete it and fetch it again.")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def read_names(path: Path) -> list[str]:
    """The ten class names, in the order of the labels. Raises UserError where the file is damaged."""
    names = read_pickle(path).get("label_names")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise UserError(f"{path} does not hold ten class names under label_names: delete it and fetch it again.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
