"""ArtBench-10 (Liao et al. 2022, arXiv 2206.11404): 50 000 + 10 000 works of art in ten styles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from tdattr.data.cifar_batches import SIZE, find_files, read_batch, read_names
from tdattr.data.images import list_folders, list_images, read_image, resize_tensor, stamp
from tdattr.data.prepared import SPLITS, Example, Outline, Source, one_hot
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count
from tdattr.tables import read_rows

STYLES = [
    "art_nouveau",
    "baroque",
    "expressionism",
    "impressionism",
    "post_impressionism",
    "realism",
    "renaissance",
    "romanticism",
    "surrealism",
    "ukiyo_e",
]
PUBLISHED = {"train": 50_000, "test": 10_000}
SPLIT, UNSPLIT, BATCHED = "artbench-10-imagefolder-split", "artbench-10-imagefolder", "artbench-10-batches-py"
LAYOUTS = {"auto": [SPLIT, UNSPLIT, BATCHED], "folder": [SPLIT, UNSPLIT], "batches": [BATCHED]}
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
META = "meta"
TABLES = ["ArtBench-10.csv", "metadata.csv"]  # the second is what some call their copy of the first
COLUMNS = ["name", "artist", "label", "split", "cifar_index"]  # those of the table that are used
SITE = "https://artbench.eecs.berkeley.edu/files"
FETCH = f"{SITE}/{SPLIT}.tar (256 x 256) or {SITE}/artbench-10-python.tar.gz (32 x 32) and unpack it there"
Work = tuple[np.ndarray | Callable[[], np.ndarray], dict[str, str]]  # image, fields


@dataclass(frozen=True)
class ArtBench10(Source):
    """Any published layout in ``root`` or below it, and the published table ``ArtBench-10.csv`` where it is there.

    ``layout``: ``folder`` is ``artbench-10-imagefolder-split/{train,test}/<style>/<file>.jpg``, or the unsplit
    ``artbench-10-imagefolder/<style>/<file>.jpg`` beside the table; ``batches`` is ``artbench-10-batches-py``, 32 x 32;
    ``auto`` is the first of these that is found. ``condition``: ``none`` or ``style`` (one of ten).
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 2  # images are resized bilinearly

    root: str
    layout: Literal["auto", "folder", "batches"]
    resolution: Count
    condition: Literal["none", "style"]

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each batch, or a digest of the images' names, sizes and times; and the SHA-256 of the table.

        Raises UserError where files are missing, or are not what was published.
        """
        layout, folder = self.locate()
        table = find_table(self.path, folder)
        self.rows()
        digests = {} if table is None else {"table": digest(table)}
        if layout == BATCHED:
            return digests | {name: digest(path) for name, path in batch_files(folder).items()}
        paths = [path for split in SPLITS for path, _ in self.members(split)]
        return digests | {"images": stamp(paths, folder, f"{table} lists them, so unpack {folder} again.")}

    def count(self, split: str) -> int:
        """50 000 or 10 000. Reads every batch, so that a damaged one is found before anything is prepared."""
        layout, folder = self.locate()
        if layout != BATCHED:
            return len(self.members(split))
        counts = {name: sum(1 for _ in read_batches(folder, name, self.rows())) for name in SPLITS}
        return counts[split]

    def examples(self, split: str) -> Iterator[Example]:
        """Folders: style by style, in the order of the file names; batches: in the published order.

        The fields are ``style`` and, as far as they are known, ``name`` (of the file) and ``artist``.
        """
        layout, folder = self.locate()
        rows = self.rows()
        for image, fields in read_batches(folder, split, rows) if layout == BATCHED else self.list_files(split, rows):
            style = one_hot(STYLES.index(fields["style"]), len(STYLES))
            yield Example(image=image, condition=style if self.condition == "style" else None, fields=fields)

    def outline(self, split: str) -> Outline:
        """As many works of every style."""
        import pandas as pd

        count = PUBLISHED[split]
        items = pd.DataFrame({"id": np.arange(count), "style": np.resize(STYLES, count)})
        return Outline(items, (self.resolution,) * 2 + (3,), (1, len(STYLES)) if self.condition == "style" else None)

    def list_files(self, split: str, rows: list[dict[str, str]]) -> Iterator[Work]:
        """The works of a split that are image files; ``rows``: the table's."""
        artists = {(row["label"], row["name"]): row["artist"] for row in rows}
        for path, style in self.members(split):
            artist = {"artist": artists.get((style, path.name), "")} if rows else {}
            image = partial(read_image, path, self.resolution, 3, resize=resize_tensor)
            yield image, {"style": style, "name": path.name} | artist

    def members(self, split: str) -> list[tuple[Path, str]]:
        """The image files of a split, each with its style, both sorted.

        Raises UserError where a style has none, and where the unsplit folder and the table do not belong together.
        """
        layout, folder = self.locate()
        top = folder / split if layout == SPLIT else folder
        paths = {style: list_images((top / style).iterdir() if (top / style).is_dir() else [], top) for style in STYLES}
        empty = [style for style in STYLES if not paths[style]]
        if empty:
            raise UserError(f"{top / empty[0]} holds no images: fetch {SITE}/{SPLIT}.tar and unpack it again.")
        if layout == UNSPLIT:
            table = find_table(self.path, folder)
            if table is None:
                raise UserError(
                    f"{folder} is not split into train and test, and {TABLES[0]}, which says how, is not beside it: "
                    f"fetch {SITE}/{TABLES[0]} into {folder.parent}."
                )
            splits = {(row["label"], row["name"]): row["split"] for row in read_table(table)}
            unknown = [path for style in STYLES for path in paths[style] if (style, path.name) not in splits]
            if unknown:
                raise UserError(f"{table} does not list {unknown[0]}: remove the image, or fetch the table again.")
            paths = {style: [] for style in STYLES}
            for (style, name), part in sorted(splits.items()):
                if part == split:
                    paths[style].append(folder / style / name)
        return [(path, style) for style in STYLES for path in paths[style]]

    def rows(self) -> list[dict[str, str]]:
        """The rows of the published table; none where there is no table."""
        table = find_table(self.path, self.locate()[1])
        return [] if table is None else read_table(table)

    def locate(self) -> tuple[str, Path]:
        """The layout that is read and its folder. Raises UserError where there is none or it does not suit."""
        located = find_layout(self.path, LAYOUTS[self.layout]) if self.root else None
        if located is None:
            raise UserError(
                f"ArtBench-10 is not in {self.root!r} (no {', '.join(LAYOUTS[self.layout])}): give its folder with "
                f"dataset.source.root=<folder>, or fetch {FETCH}."
            )
        if located[0] == BATCHED and self.resolution != SIZE:
            raise UserError(
                f"{located[1]} holds images of {SIZE} x {SIZE} instead of {self.resolution} x {self.resolution}: set "
                f"dataset.source.resolution={SIZE}, or fetch {SITE}/{SPLIT}.tar and unpack it there."
            )
        return located

    @property
    def path(self) -> Path:
        return expand(self.root)


def read_batches(folder: Path, split: str, rows: list[dict[str, str]]) -> Iterator[Work]:
    """The works of a split that lie in batches; ``rows``: the table's. Raises UserError where the two disagree."""
    files = batch_files(folder)
    names = read_styles(files[META])
    works = {row["cifar_index"]: row for row in rows if row["split"] == split}
    index = 0
    for batch in BATCHES[split]:
        pixels, labels = read_batch(files[batch], {"labels": len(STYLES)})
        for image, label in zip(pixels, labels["labels"], strict=True):
            style = names[label]
            work = works.get(str(index), {"label": style, "name": "", "artist": ""})
            if work["label"] != style:
                raise UserError(
                    f"Item {index} of {split} is {style} in {files[batch]} but {work['label']} in {TABLES[0]}: fetch "
                    "both again, or take the table away."
                )
            yield image, {"style": style} | ({"name": work["name"], "artist": work["artist"]} if rows else {})
            index += 1


def batch_files(folder: Path) -> dict[str, Path]:
    """Every file of the batches. Raises UserError where one is missing."""
    names = [*BATCHES["train"], *BATCHES["test"], META]
    return find_files(folder, BATCHED, names, "ArtBench-10", f"{SITE}/artbench-10-python.tar.gz")


def read_styles(path: Path) -> list[str]:
    """The ten styles in the order of the labels. Raises UserError where they are others."""
    names = read_names(path, "styles", len(STYLES))
    if sorted(names) != STYLES:
        raise UserError(f"{path} names the styles {', '.join(names)}, not those of ArtBench-10: fetch it again.")
    return names


def find_layout(root: Path, layouts: list[str]) -> tuple[str, Path] | None:
    """The first layout whose folder is ``root``, lies in it, or in one of its folders; None where there is none."""
    markers = {  # what only a folder of that layout holds
        SPLIT: [f"{split}/{style}" for split in SPLITS for style in STYLES],
        UNSPLIT: STYLES,
        BATCHED: [META, *BATCHES["train"], *BATCHES["test"]],
    }
    for layout in layouts:
        for folder in (root, root / layout, *(inner / layout for inner in list_folders(root))):
            if any((folder / name).exists() for name in markers[layout]):
                return layout, folder
    return None


def find_table(root: Path, folder: Path) -> Path | None:
    """The published table, in ``root``, in the folder of images or batches, or beside it; None where there is none."""
    paths = [parent / name for parent in (root, folder) for name in TABLES] + [folder.parent / TABLES[0]]
    return next((path for path in paths if path.is_file()), None)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of the published table. Raises UserError where it is another one, or lists a work in both splits."""
    rows = [row.cells for row in read_rows(path, COLUMNS, f"fetch {SITE}/{TABLES[0]} in its place")]
    if not rows:
        raise UserError(f"{path} has no rows: fetch {SITE}/{TABLES[0]} in its place.")
    splits: dict[tuple[str, str], str] = {}
    for row in rows:
        work = f"{row['label']}/{row['name']}"
        if row["label"] not in STYLES or row["split"] not in SPLITS:
            raise UserError(f"{path} lists {work} in {row['split']}, which is unknown: fetch {SITE}/{TABLES[0]} again.")
        if splits.setdefault((row["label"], row["name"]), row["split"]) != row["split"]:
            raise UserError(f"{path} lists {work} both in train and in test: fetch {SITE}/{TABLES[0]} again.")
    return rows
