"""The one form that every dataset is turned into: memory-mapped images and conditions, and a table of the items."""

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from tdattr.configs import Node
from tdattr.data.latents import Latents
from tdattr.data.mapped import MemoryMapped
from tdattr.data.strips import Strips
from tdattr.errors import UserError
from tdattr.files import digest_once
from tdattr.image_bytes import unpack
from tdattr.ranges import Count, CountOrZero
from tdattr.store import Plan, share_out
from tdattr.tables import DataFrame, read_frame

FACTS = "facts.json"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Example:
    """One raw item. ``condition`` [variant, *shape]: a vector, token ids or any other array for each caption, of the
    same shape and type in all items; None for an unconditional dataset, or where a text encoder makes it out of the
    prompts."""

    # uint8 [height, width, channel], or what reads it in another thread; of one shape but where a source has ``window``
    image: np.ndarray | Callable[[], np.ndarray]
    condition: np.ndarray | None = None
    prompts: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)  # what groups can be made of: {"style": "Cubism"}

    def read(self) -> np.ndarray:
        """The image. Raises UserError where its file cannot be read."""
        return self.image() if callable(self.image) else self.image


@dataclass(frozen=True)
class Outline:
    """What is known of a split before it is prepared: the ``items`` as in ``Split``, the ``shape`` of an image, and
    that of a condition, [variant, *shape]; None where there is none."""

    items: DataFrame
    shape: tuple[int, int, int]  # height, width, channels
    condition: tuple[int, ...] | None


class Source(Node, ABC):
    """A ``dataset.source`` config node: reads one dataset as it is published."""

    @property
    def window(self) -> int | None:
        """The shorter side of all images, where they differ in the longer one: trainings see random square windows of
        that side and everything else the central ones. None: images are square or at least of one shape."""
        return None

    @property
    def skips_unreadable(self) -> bool | None:
        """Whether items whose images cannot be read are left out instead of ending the preparation; None: they are not,
        and the source has no setting that says so."""
        return None

    def file_of(self, name: str) -> Path | None:
        """The file of the item of that name, which need not be there any more; None: items have no files of their
        own."""
        return None

    def outline(self, split: str) -> Outline | None:
        """What the settings alone say of a split, for ``plan=true`` where the raw files are not here; None: nothing. A
        condition that a text encoder makes is not in it."""
        return None

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What identifies the raw files (name -> digest), so that changed files are prepared anew.

        Raises UserError, naming the override and the command that mend it, where they are missing.
        """

    @abstractmethod
    def count(self, split: str) -> int:
        """The number of items in ``train`` or ``test``."""

    @abstractmethod
    def examples(self, split: str) -> Iterator[Example]:
        """The items in the order of their ids: 0, 1, 2, … Raises UserError for a file that cannot be read.

        Images that are costly to read are given as functions: preparation calls them in parallel, and not at all for
        items that an interrupted call has already written.
        """

    def samples(self) -> Iterator[Example]:
        """Training items with image and condition, of which only the first is needed, for its shapes: a source need not
        read for them what else it knows of its items."""
        return self.examples("train")


@dataclass(frozen=True)
class Counts:
    """The ``dataset.counts`` node: how many items a split must have; None: any number."""

    train: Count | None = None
    test: CountOrZero | None = None


@dataclass(frozen=True)
class Split(MemoryMapped):
    """The items of one split; ids are row numbers.

    Whatever looks at an item sees the centre of its image and its first caption. Only the training of F1 and of
    counterfactual models (``tdattr.training.items``) asks for another window or caption.
    """

    pixels: np.ndarray | Strips  # uint8 [item, height, width, channel], memory-mapped
    conditions: np.ndarray | None  # [item, variant, *shape], memory-mapped
    items: DataFrame  # a row per item: id, prompt columns, one column per field
    untold: Bool[np.ndarray, " item"] | None = None  # which have the null condition whatever is drawn; None: none
    latents: Latents | None = None  # what x is made of; None: of the images, which it is then

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def captions(self) -> int:
        """How many conditions every item has; 1 for an unconditional dataset."""
        return 1 if self.conditions is None else self.conditions.shape[1]

    def images(
        self, ids: Int[np.ndarray, " batch"], position: Float[np.ndarray, " batch"] | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The images with these ids, in [-1, 1], as people and feature extractors see them.

        ``position``: which windows of images that are larger than what is seen of them, as ``Strips.windows`` has it.
        """
        pixels = self.pixels.windows(ids, position) if isinstance(self.pixels, Strips) else self.pixels[ids]
        return unpack(pixels)

    def x(
        self,
        ids: Int[np.ndarray, " batch"],
        mirrored: Bool[np.ndarray, " batch"] | bool = False,
        position: Float[np.ndarray, " batch"] | None = None,
        rng: np.random.Generator | None = None,
    ) -> Float[Tensor, "batch *x"]:
        """The items with these ids as networks see them, mirrored or not: their images, or the latents of these.

        ``rng``: of a training, by which latents are drawn from their distributions where the codec says so; None: the
        mode. Images of which windows are seen have no latents.
        """
        if self.latents is not None:
            return self.latents.x(ids, mirrored, rng)
        x = self.images(ids, position)
        if isinstance(mirrored, bool):
            return x.flip(-1) if mirrored else x
        return torch.where(torch.from_numpy(mirrored)[:, None, None, None], x.flip(-1), x)

    def plan_x(self, mirrored: bool) -> list[Plan]:
        """The artifacts beside the dataset that ``x`` reads, of the mirrored images too where they are seen."""
        if self.latents is None or not len(self):
            return []
        return [self.latents.plans[side] for side in ((False, True) if mirrored else (False,))]

    def open_x(self, mirrored: bool) -> None:
        """Have them built and open, before a process is started that reads them and can build none. Jobs share the two
        sides; other workers would take threads from the training that needs them."""
        plans = self.plan_x(mirrored)
        if self.latents is not None and plans:
            share_out(plans, workers=False)
            for side in range(len(plans)):
                self.latents.side(bool(side))

    def condition(
        self, ids: Int[np.ndarray, " batch"], variant: Int[np.ndarray, " batch"] | int = 0
    ) -> Shaped[Tensor, "batch *condition"] | None:
        """The conditions of the items with these ids, of any shape and in the type that they are stored in; None where
        the dataset has none. ``variant``: which of an item's captions."""
        if self.conditions is None:
            return None
        return torch.from_numpy(np.array(self.conditions[ids, variant]))


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its splits, and ``facts``: counts and digests of its files."""

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
        """The length of a condition's last axis: of a vector the numbers in it, of token ids the tokens; 1 for a single
        number, 0 for an unconditional dataset."""
        if self.train.conditions is None:
            return 0
        shape = self.train.conditions.shape[2:]
        return shape[-1] if shape else 1

    @property
    def content(self) -> str:
        """A digest of everything in it; equal contents mean equal trainings."""
        return self.facts["content"]


def load(folder: Path) -> Prepared:
    """Open a prepared dataset and check every file against its checksum.

    Raises UserError where a file is missing or damaged.
    """
    damaged = find_damage(folder)
    if damaged is not None:
        raise UserError(
            f"{damaged} is missing or damaged: `rm -r {shlex.quote(str(folder))}`, and the same command prepares the "
            "dataset again."
        )
    facts = json.loads((folder / FACTS).read_text())
    return Prepared(read_split(folder, "train"), read_split(folder, "test"), facts)


def find_damage(folder: Path) -> Path | None:
    """The first file of a prepared dataset that is missing or not what was written; None where all are."""
    try:
        expected = json.loads((folder / FACTS).read_text())["files"].items()
        return next((folder / name for name, value in expected if digest_once(folder / name) != value), None)
    except FileNotFoundError as error:
        return Path(error.filename)
    except (ValueError, KeyError, TypeError, AttributeError):
        return folder / FACTS


def read_split(folder: Path, split: str) -> Split:
    """One split, memory-mapped; an empty one where the dataset has no test split."""
    images = folder / f"{split}_images.npy"
    conditions = folder / f"{split}_conditions.npy"
    if split != "train" and not images.exists():
        train = read_split(folder, "train")
        empty = None if train.conditions is None else np.empty((0, *train.conditions.shape[1:]), train.conditions.dtype)
        return Split(np.empty((0, *train.pixels.shape[1:]), np.uint8), empty, train.items.iloc[:0])
    spans = folder / f"{split}_spans.npy"
    items = read_frame(folder / f"{split}_items.csv").astype({"id": int})
    pixels = np.load(images, mmap_mode="r")
    return Split(
        Strips(pixels, np.load(spans, mmap_mode="r")) if spans.exists() else pixels,
        np.load(conditions, mmap_mode="r") if conditions.exists() else None,
        items,
    )


def one_hot(index: int | np.integer, size: int) -> np.ndarray:
    """A class as a condition: float32 [1, size]."""
    vector = np.zeros((1, size), np.float32)
    vector[0, index] = 1
    return vector
