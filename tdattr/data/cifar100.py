"""CIFAR-100 (Krizhevsky, 2009): 50 000 + 10 000 colour photographs, 32 x 32, 100 classes in 20 superclasses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tdattr.data.cifar_batches import find_files, read_batch, read_names, torchvision
from tdattr.data.prepared import SPLITS, Example, Source, one_hot
from tdattr.files import digest, expand

FOLDER = "cifar-100-python"
META = "meta"
CLASSES = {"fine_labels": 100, "coarse_labels": 20}
NAMES = {"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"}


@dataclass(frozen=True)
class Cifar100(Source):
    """The "python version" of https://www.cs.toronto.edu/~kriz/cifar.html.

    ``root`` is the folder ``cifar-100-python`` or the one that contains it. ``condition``: ``none``, ``fine`` (one of
    100 classes) or ``coarse`` (one of 20 superclasses).
    """

    unaddressed: ClassVar = ("root",)

    root: str
    condition: Literal["none", "fine", "coarse"]

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each file. Raises UserError where one is missing."""
        return {name: digest(path) for name, path in self.files().items()}

    def count(self, split: str) -> int:
        """50 000 or 10 000. Reads every file, so that a damaged one is found before anything is prepared."""
        files = self.files()
        for key, names in NAMES.items():
            read_names(files[META], names, CLASSES[key])
        counts = {name: len(read_batch(files[name], CLASSES)[0]) for name in SPLITS}
        return counts[split]

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the published order; the fields ``label`` and ``superclass`` are the names of the classes."""
        files = self.files()
        fine, coarse = (read_names(files[META], NAMES[key], CLASSES[key]) for key in CLASSES)
        images, labels = read_batch(files[split], CLASSES)
        for image, label, superclass in zip(images, labels["fine_labels"], labels["coarse_labels"], strict=True):
            yield Example(
                image=image,
                condition={
                    "none": None,
                    "fine": one_hot(label, len(fine)),
                    "coarse": one_hot(superclass, len(coarse)),
                }[self.condition],
                fields={"label": fine[label], "superclass": coarse[superclass]},
            )

    def files(self) -> dict[str, Path]:
        """Every file of the dataset. Raises UserError where one is missing."""
        root = expand(self.root)
        return find_files(root, FOLDER, [*SPLITS, META], "CIFAR-100", torchvision("CIFAR100", root))
