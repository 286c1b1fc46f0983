"""The one form that every dataset is turned into: memory-mapped uint8 images with conditions, groups and prompts."""

import csv
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.errors import UserError
from tdattr.report.progress import Bar
from tdattr.rows import Rows

FACTS = "facts.json"
SPLITS = ("train", "test")
BLOCK = 512  # items read, encoded and written at a time
SHOWN = 3  # unreadable images that an error quotes
Encode = Callable[[list[str]], Float[np.ndarray, "text size"]]


@dataclass(frozen=True)
class Example:
    """One raw item. ``condition``: float32 [variants, size], one row per caption; None for an unconditional dataset, or
    where a text encoder makes it out of the prompts."""

    image: np.ndarray | Callable[[], np.ndarray]  # uint8 [height, width, channel], or what reads it in another thread
    condition: np.ndarray | None = None
    prompts: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(
        default_factory=dict
    )  # what groups can be made of, for example {"style": "Cubism"}

    def read(self) -> np.ndarray:
        """The image. Raises UserError where its file cannot be read."""
        return self.image() if callable(self.image) else self.image


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
        """The items in the order of their ids: 0, 1, 2, … Raises UserError for a file that cannot be read.

        Images that are costly to read are given as functions: ``prepare`` calls them in parallel, and not at all for
        items that an interrupted call has already written.
        """
        ...


@dataclass(frozen=True)
class Mapped:
    """Stands for a memory-mapped array in a pickle."""

    path: str


@dataclass(frozen=True)
class Split:
    """The items of one split; ids are row numbers."""

    pixels: np.ndarray  # uint8 [item, height, width, channel], memory-mapped
    conditions: np.ndarray | None  # float32 [item, variant, size], memory-mapped
    items: pd.DataFrame  # a row per item: id, prompt columns, one column per field

    def __len__(self) -> int:
        return len(self.pixels)

    def __getstate__(self) -> dict[str, Any]:
        """Memory-mapped arrays travel to other processes as the paths of their files, never as their content."""
        return {
            key: Mapped(str(value.filename)) if isinstance(value, np.memmap) else value
            for key, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            object.__setattr__(self, key, np.load(value.path, mmap_mode="r") if isinstance(value, Mapped) else value)

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


def prepare(
    source: Source,
    folder: Path,
    description: str,
    encode: Encode | None = None,
    counts: Mapping[str, int | None] | None = None,
) -> None:
    """Write the prepared form of ``source`` into ``folder``, block by block, with a progress bar.

    Images are read by as many threads as there are cores; no more than three blocks of items are held in memory. A
    folder that an interrupted call left is gone on with. ``encode`` makes the conditions: one variant per prompt.
    ``counts``: how many items train and test must have; None: any number.

    Raises UserError where the counts are not those, the source cannot be read, its images differ in shape, or its train
    split is empty; unreadable images are named together, once all have been tried.
    """
    found = {split: source.count(split) for split in SPLITS}
    if not found["train"]:
        raise UserError(f"{description} has no training images.")
    check_counts(found, counts, description)
    for split in SPLITS:
        if found[split] and not (folder / f"{split}_items.csv").exists():
            prepare_split(source, split, found[split], folder, f"{description} ({split})", encode)
    facts: dict[str, Any] = {"count": found}
    for split in SPLITS:
        (folder / f"{split}.progress").unlink(missing_ok=True)
    files = sorted(path for split in SPLITS for path in folder.glob(f"{split}_*"))
    facts["files"] = {path.name: digest(path) for path in files}
    facts["content"] = hashlib.sha256(json.dumps(facts["files"], sort_keys=True).encode()).hexdigest()
    (folder / FACTS).write_text(json.dumps(facts, indent=2))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_counts(found: Mapping[str, int], expected: Mapping[str, int | None] | None, description: str) -> None:
    """Raise UserError where a split has not the expected number of items."""
    if expected is not None and (not isinstance(expected, Mapping) or set(expected) - set(SPLITS)):
        raise UserError(
            f"dataset.counts={expected} must be null or name train and test, as in {{train: 100, test: 0}}."
        )
    for split, count in (expected or {}).items():
        if count is not None and found[split] != count:
            raise UserError(
                f"{description} should have {count} items in {split} but {found[split]} were found: complete its "
                "files, or accept them as they are with dataset.counts=null."
            )


def prepare_split(
    source: Source, split: str, count: int, folder: Path, description: str, encode: Encode | None
) -> None:
    """One split of ``prepare``; its table of items is written last and says that it is complete."""
    rows = Rows(folder, split, count)
    items: list[dict[str, Any]] = []
    examples = noted(source.examples(split), items)
    unreadable: list[str] = []
    bar = Bar(f"Preparing {description}", count, min(rows.done, count))
    deque(islice(examples, rows.done), maxlen=0)  # an interrupted call has written these
    with ThreadPoolExecutor(cores()) as readers:
        for block, reading in read_ahead(examples, readers):
            unreadable += [str(future.exception()) for future in reading if isinstance(future.exception(), UserError)]
            if not unreadable:
                rows.write(**arrays(block, [future.result() for future in reading], rows, encode, description))
            bar.advance(len(block))
    bar.close()
    if unreadable:
        rows.discard()  # mended files are another dataset, prepared anew
        shown = " ".join(unreadable[:SHOWN]) + (" …" if len(unreadable) > SHOWN else "")
        raise UserError(f"{description}: {len(unreadable)} unreadable. {shown}" if len(unreadable) > 1 else shown)
    if len(items) != count:
        raise UserError(f"{description} should have {count} items but {len(items)} were read.")
    pd.DataFrame(items).to_csv(folder / "items.new", index=False, quoting=csv.QUOTE_ALL)
    (folder / "items.new").replace(folder / f"{split}_items.csv")


def noted(examples: Iterable[Example], items: list[dict[str, Any]]) -> Iterator[Example]:
    """Pass the examples on, and append each one's row of the table of items to ``items``."""
    for index, example in enumerate(examples):
        prompts = {f"prompt{place or ''}": prompt for place, prompt in enumerate(example.prompts)}
        items.append({"id": index, **prompts, **example.fields})
        yield example


def read_ahead(
    examples: Iterator[Example], readers: ThreadPoolExecutor
) -> Iterator[tuple[list[Example], list[Future[np.ndarray]]]]:
    """Blocks of examples with the reading of their images, begun one block before it is needed."""
    begun: deque[tuple[list[Example], list[Future[np.ndarray]]]] = deque()
    while block := list(islice(examples, BLOCK)):
        begun.append((block, [readers.submit(example.read) for example in block]))
        if len(begun) > 1:
            yield begun.popleft()
    yield from begun


def arrays(
    block: list[Example], images: list[np.ndarray], rows: Rows, encode: Encode | None, description: str
) -> dict[str, np.ndarray]:
    """What is stored of a block: uint8 images and float32 conditions [item, variant, size], none for an unconditional
    dataset. Raises UserError for shapes that differ from those of the first item."""
    conditions: list[np.ndarray | None] = [example.condition for example in block]
    if encode is not None:
        bare = next((place for place, example in enumerate(block) if not example.prompts), None)
        if bare is not None:
            raise UserError(
                f"{description}: item {rows.done + bare} has no prompt to make a condition of: give captions, or set "
                "dataset.text=null."
            )
        sizes = [len(example.prompts) for example in block]
        vectors = encode([prompt for example in block for prompt in example.prompts])
        conditions = list(np.split(vectors, np.cumsum(sizes)[:-1]))
    for key, values in (("image", images), ("condition", conditions)):
        shapes = [None if value is None else value.shape for value in values]
        expected = rows.shape(f"{key}s") if rows.done else shapes[0]
        for place, shape in enumerate(shapes):
            if shape != expected:
                raise UserError(
                    f"{description}: the {key} of item {rows.done + place} has shape {shape}, not {expected}."
                )
    stored = {"images": np.stack(images)}
    given = [condition for condition in conditions if condition is not None]
    return stored | {"conditions": np.stack(given).astype(np.float32)} if given else stored


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


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def one_hot(index: int | np.integer, size: int) -> np.ndarray:
    """A class as a condition: float32 [1, size]."""
    vector = np.zeros((1, size), np.float32)
    vector[0, index] = 1
    return vector
