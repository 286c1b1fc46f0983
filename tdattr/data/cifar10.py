"""CIFAR-10 (Krizhevsky, 2009): 50 000 + 10 000 colour photographs, 32 x 32, ten classes; or a part of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int

from tdattr.data.cifar_batches import SIZE, find_files, read_batch, read_names, torchvision
from tdattr.data.prepared import Example, Outline, Source, one_hot
from tdattr.data.subset import ItemsConfig, SubsetSeed, draw_by_class
from tdattr.errors import UserError
from tdattr.files import digest, expand

FOLDER = "cifar-10-batches-py"
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
ARCHIVE = ["data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5", "data_batch_1"]  # its order
META = "batches.meta"
CLASSES = 10
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class Cifar10(Source):
    """The "python version" of https://www.cs.toronto.edu/~kriz/cifar.html.

    ``root`` is the folder ``cifar-10-batches-py`` or the one that contains it. ``condition``: ``none`` or ``label``
    (one of the classes that are used). ``classes``: the names of those that are used; null: all ten. ``items`` of them
    are drawn with ``subset_seed``.
    """

    unaddressed: ClassVar = ("root",)

    root: str
    condition: Literal["none", "label"]
    classes: list[str] | None
    items: ItemsConfig
    subset_seed: SubsetSeed

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each file. Raises UserError where one is missing, and for an unknown class."""
        files = self.files()
        self.used_labels(read_names(files[META], "label_names", CLASSES))
        return {name: digest(path) for name, path in files.items()}

    def count(self, split: str) -> int:
        """50 000 or 10 000, or as many as are used of them.

        Reads every batch, so that a damaged one is found before anything is prepared.
        """
        counts = {name: len(self.select(name)) for name in BATCHES}
        return counts[split]

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the published order, batch by batch; the field ``label`` is the class name."""
        files = self.files()
        names = read_names(files[META], "label_names", CLASSES)
        used = self.used_labels(names)
        selected = set(self.select(split).tolist())
        first = 0
        for batch in BATCHES[split]:
            images, labels = read_batch(files[batch], {"labels": CLASSES})
            for index, (image, label) in enumerate(zip(images, labels["labels"], strict=True), start=first):
                if index in selected:
                    yield Example(
                        image=image,
                        condition=one_hot(used.index(label), len(used)) if self.condition == "label" else None,
                        fields={"label": names[label]},
                    )
            first += len(images)

    def outline(self, split: str) -> Outline:
        """Each class has its share of what is published."""
        import pandas as pd

        used = self.used_labels(list(NAMES))
        published = PUBLISHED[split] * len(used) // CLASSES
        count = self.items.of(split, published) or published
        labels = [NAMES[used[index % len(used)]] for index in range(count)]
        items = pd.DataFrame({"id": np.arange(count), "label": labels})
        return Outline(items, (SIZE, SIZE, 3), (1, len(used)) if self.condition == "label" else None)

    def used_labels(self, names: list[str]) -> list[int]:
        """The labels that are used, ascending. Raises UserError for the name of an unknown class."""
        names_used = names if self.classes is None else self.classes
        unknown = [name for name in names_used if name not in names]
        if unknown or not names_used:
            raise UserError(
                f"dataset.source.classes names {unknown[0] if unknown else 'nothing'}: choose among {', '.join(names)}."
            )
        return [label for label, name in enumerate(names) if name in names_used]

    def select(self, split: str) -> Int[np.ndarray, " item"]:
        """The indices of the split's items among all that are published, ascending.

        They are drawn in the order of the published archive, in which Hugging Face's copy numbers the items, so that
        ``subset_seed=42`` gives the very items of D-TRAK's CIFAR-2.
        """
        files = self.files()
        used = self.used_labels(read_names(files[META], "label_names", CLASSES))
        labels = {
            batch: np.array(read_batch(files[batch], {"labels": CLASSES})[1]["labels"]) for batch in BATCHES[split]
        }
        indices, first = {}, 0
        for batch in BATCHES[split]:
            indices[batch] = first + np.flatnonzero(np.isin(labels[batch], used))
            first += len(labels[batch])
        order = np.concatenate([indices[batch] for batch in sorted(indices, key=ARCHIVE.index)])
        count = self.items.of(split, len(order))
        if count is None:
            return np.sort(order)
        return np.sort(order[draw_by_class(np.concatenate(list(labels.values()))[order], count, self.subset_seed)])

    def files(self) -> dict[str, Path]:
        """Every file of the dataset. Raises UserError where one is missing."""
        root = expand(self.root)
        names = [*BATCHES["train"], *BATCHES["test"], META]
        return find_files(root, FOLDER, names, "CIFAR-10", torchvision("CIFAR10", root))
