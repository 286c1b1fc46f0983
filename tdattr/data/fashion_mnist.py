"""Fashion-MNIST (Xiao et al., 2017): 60 000 + 10 000 articles of clothing, 28 x 28 gray, ten classes; or a part
of them."""

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tdattr.data.prepared import Example, Source, one_hot
from tdattr.data.subset import ItemsConfig, SubsetSeed, draw_by_class
from tdattr.errors import UserError
from tdattr.files import digest, expand

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LABELS = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
SIZE = 28
DEBIAN = "/usr/share/datasets/fashion-mnist"  # where the package dataset-fashion-mnist puts the files
TORCHVISION = "FashionMNIST/raw"  # where torchvision puts them below its root
UNSIGNED_BYTE = 0x08  # IDX code of the only element type used here


@dataclass(frozen=True)
class FashionMnist(Source):
    """The four files of https://github.com/zalandoresearch/fashion-mnist, .gz or unpacked.

    They are sought in ``root``; where that is null, in ``default_root`` and then in the folder of Debian's package.
    ``resolution``: 28, or 32 with a border of 2 black pixels. ``condition``: ``none`` or ``label``. ``items`` of them
    are drawn with ``subset_seed``.
    """

    unaddressed: ClassVar = ("root", "default_root")
    added: ClassVar[Mapping[str, Any]] = {"items": ItemsConfig(None, None), "subset_seed": 42}

    root: str | None
    default_root: str | None
    resolution: Literal[28, 32]
    condition: Literal["none", "label"]
    items: ItemsConfig
    subset_seed: SubsetSeed

    def unread(self) -> dict[str, str]:
        """The seed, where nothing is drawn."""
        return {"subset_seed": "items={train: null, test: null}"} if self.items == self.added["items"] else {}

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each file. Raises UserError where one is missing."""
        return {path.name: digest(path) for path in self.files().values()}

    def count(self, split: str) -> int:
        """60 000 or 10 000, or as many as are used of them. Reads all four files, so that a damaged one is found before
        anything is prepared."""
        counts = {name: len(self.arrays(name)[1]) for name in FILES}
        return counts[split]

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the published order; the field ``label`` is the class name."""
        border = (self.resolution - SIZE) // 2
        for image, label in zip(*self.arrays(split), strict=True):
            yield Example(
                image=np.pad(image, border)[..., None],
                condition=one_hot(label, len(LABELS)) if self.condition == "label" else None,
                fields={"label": LABELS[label]},
            )

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [item, 28, 28] and labels uint8 [item] of those that are used. Raises UserError where a file is
        damaged, or more are asked for than there are."""
        images, labels = (self.files()[name] for name in FILES[split])
        pixels, classes = read_idx(images, (SIZE, SIZE)), read_idx(labels, ())
        if len(pixels) != len(classes):
            raise UserError(
                f"{labels} has {len(classes)} labels but {images} has {len(pixels)} images: fetch both again."
            )
        if len(classes) and classes.max() >= len(LABELS):
            raise UserError(f"{labels} holds the label {classes.max()} but there are only 0..9: fetch it again.")
        if (count := self.items.of(split, len(classes))) is None:
            return pixels, classes
        drawn = draw_by_class(classes.astype(int), count, self.subset_seed)
        return pixels[drawn], classes[drawn]

    def files(self) -> dict[str, Path]:
        """Where each of the four files lies. Raises UserError where one is missing."""
        roots = [expand(root) for root in ([self.root] if self.root else [self.default_root, DEBIAN]) if root]
        names = [name for pair in FILES.values() for name in pair]
        remedy = "give their folder with dataset.source.root=<folder>, or run: apt-get install dataset-fashion-mnist"
        for folder in [path for root in roots for path in (root, root / TORCHVISION)]:
            paths = {name: path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()}
            missing = [name for name in names if name not in paths]
            if paths and missing:
                raise UserError(f"{folder} lacks {', '.join(missing)} of Fashion-MNIST: {remedy}")
            if paths:
                return paths
        raise UserError(f"The files of Fashion-MNIST are not in {' or '.join(map(str, roots))}: {remedy}")


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [item, *shape] from an IDX file, plain or .gz (format: http://yann.lecun.com/exdb/mnist/).

    Four bytes (two zeros, the element type, the number of dimensions), each dimension as a big-endian 32-bit integer,
    then the elements in C order. Raises UserError saying what is wrong with the file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}): fetch it again.") from error
    header = 4 * (2 + len(shape))
    if len(content) < header:
        raise UserError(f"{path} is cut short: it has {len(content)} bytes, less than its header of {header}.")
    magic, count, *sizes = struct.unpack(f">{header // 4}I", content[:header])
    expected = UNSIGNED_BYTE << 8 | 1 + len(shape)
    if magic != expected:
        raise UserError(f"{path} is not the IDX file it should be: it starts with {magic:#010x}, not {expected:#010x}.")
    if tuple(sizes) != shape:
        raise UserError(f"{path} holds items of {sizes} instead of {list(shape)} bytes: fetch it again.")
    if len(content) != header + count * prod(shape):
        raise UserError(
            f"{path} has {len(content)} bytes but its header announces {header + count * prod(shape)}: fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, *shape)
