"""The one form that every dataset is turned into: memory-mapped uint8 images with conditions, groups and prompts."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.errors import UserError

FACTS = "facts.json"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Example:
    """One raw item. ``condition``: float32 [variants, size], one row per caption; None for an unconditional dataset."""

    image: np.ndarray  # uint8 [height, width, channel]
    condition: np.ndarray | None = None
    prompts: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(
        default_factory=dict
    )  # what groups can be made of, for example {"style": "Cubism"}


class Source(Protocol):
    """A ``dataset.source`` config node: reads one dataset as it is published."""

    def fingerprint(self) -> dict[str, str]:
        """What identifies the raw files (name -> digest), so that changed files are prepared anew.

        Raises UserError, naming the override and the command that mend it, where they are missing.
        """
        ...

    def count(self, split: str) -> int:
        """The number of items in ``train`` or ``test``."""
        ...

    def examples(self, split: str) -> Iterator[Example]:
        """The items in the order of their ids: 0, 1, 2, … Raises UserError for a file that cannot be read."""
        ...


@dataclass(frozen=True)
class Split:
    """The items of one split; ids are row numbers."""

    pixels: np.ndarray  # uint8 [item, height, width, channel], memory-mapped
    conditions: np.ndarray | None  # float32 [item, variant, size], memory-mapped
    items: pd.DataFrame  # a row per item: id, prompt columns, one column per field

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Int[np.ndarray, " batch"]) -> Float[Tensor, "batch channel height width"]:
        """Those images in [-1, 1]."""
        chosen = torch.from_numpy(np.ascontiguousarray(self.pixels[ids]))
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1

    def condition(
        self, ids: Int[np.ndarray, " batch"], variant: Int[np.ndarray, " batch"] | int = 0
    ) -> Float[Tensor, "batch condition"] | None:
        """Those conditions, one caption each: the first unless told; None where the dataset has none."""
        if self.conditions is None:
            return None
        return torch.from_numpy(np.array(self.conditions[ids, variant]))


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its splits and the facts about it."""

    train: Split
    test: Split
    facts: dict[str, Any]

    @property
    def resolution(self) -> int:
        """Height and width of an image."""
        return self.train.pixels.shape[1]

    @property
    def channels(self) -> int:
        """1 for gray, 3 for colour."""
        return self.train.pixels.shape[3]

    @property
    def condition_size(self) -> int:
        """The length of a condition vector; 0 for an unconditional dataset."""
        return 0 if self.train.conditions is None else self.train.conditions.shape[2]

    @property
    def content(self) -> str:
        """A digest of everything in it; equal contents mean equal trainings."""
        return self.facts["content"]


def prepare(source: Source, folder: Path, description: str) -> None:
    """Write the prepared form of ``source`` into ``folder``, one item at a time, with a progress bar.

    Raises UserError where the source cannot be read, its images differ in shape, or its train split is empty.
    """
    from tdattr.report.progress import track

    facts: dict[str, Any] = {"count": {}}
    for split in SPLITS:
        count = source.count(split)
        if split == "train" and not count:
            raise UserError(f"{description} has no training images.")
        images = conditions = None
        rows = []
        for index, example in enumerate(track(source.examples(split), f"Preparing {description} ({split})", count)):
            if images is None:
                images = create(folder / f"{split}_images.npy", np.uint8, (count, *example.image.shape))
                if example.condition is not None:
                    conditions = create(
                        folder / f"{split}_conditions.npy", np.float32, (count, *example.condition.shape)
                    )
            if example.image.shape != images.shape[1:]:
                raise UserError(
                    f"{description}: image {index} has shape {example.image.shape}, not {images.shape[1:]}."
                )
            given = None if example.condition is None else example.condition.shape
            expected = None if conditions is None else conditions.shape[1:]
            if given != expected:
                raise UserError(f"{description}: image {index} has a condition of shape {given}, not {expected}.")
            images[index] = example.image
            if conditions is not None:
                conditions[index] = example.condition
            prompts = {f"prompt{i or ''}": prompt for i, prompt in enumerate(example.prompts)}
            rows.append({"id": index, **prompts, **example.fields})
        if len(rows) != count:
            raise UserError(f"{description}: {split} should have {count} items but {len(rows)} were read.")
        for array in (images, conditions):
            if array is not None:
                array.flush()
        pd.DataFrame(rows).to_csv(folder / f"{split}_items.csv", index=False, quoting=csv.QUOTE_ALL)
        facts["count"][split] = count
    facts["files"] = {path.name: digest(path) for path in sorted(folder.iterdir())}
    facts["content"] = hashlib.sha256(json.dumps(facts["files"], sort_keys=True).encode()).hexdigest()
    (folder / FACTS).write_text(json.dumps(facts, indent=2))


def load(folder: Path) -> Prepared:
    """Open a prepared dataset and check every file against its checksum.

    Raises UserError where a file is missing or damaged.
    """
    try:
        facts = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError):
        raise UserError(f"{folder} holds no readable {FACTS}: delete the folder and run the command again.") from None
    for name, expected in facts["files"].items():
        path = folder / name
        if not path.exists() or digest(path) != expected:
            raise UserError(f"{path} is missing or damaged: delete its folder and run the command again to rebuild it.")
    return Prepared(read_split(folder, "train"), read_split(folder, "test"), facts)


def read_split(folder: Path, split: str) -> Split:
    """One split, memory-mapped; an empty one where the dataset has no such split."""
    images = folder / f"{split}_images.npy"
    conditions = folder / f"{split}_conditions.npy"
    if not images.exists():
        train = read_split(folder, "train")
        empty = None if train.conditions is None else np.empty((0, *train.conditions.shape[1:]), np.float32)
        return Split(np.empty((0, *train.pixels.shape[1:]), np.uint8), empty, train.items.iloc[:0])
    items = pd.read_csv(folder / f"{split}_items.csv", dtype=str, keep_default_na=False).astype({"id": int})
    return Split(
        np.load(images, mmap_mode="r"), np.load(conditions, mmap_mode="r") if conditions.exists() else None, items
    )


def create(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new memory-mapped .npy file."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)  # type: ignore[no-untyped-call]


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def one_hot(index: int, size: int) -> np.ndarray:
    """A class as a condition: float32 [1, size]."""
    vector = np.zeros((1, size), np.float32)
    vector[0, index] = 1
    return vector
