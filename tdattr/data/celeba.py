"""CelebA (Liu et al. 2015): 202 599 faces, aligned, with 40 attributes; or the part of it that D-TRAK uses."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from tdattr.data.cifar_batches import torchvision
from tdattr.data.images import read_image, stamp
from tdattr.data.prepared import SPLITS, Example, Source, one_hot
from tdattr.data.subset import ItemsConfig, SubsetSeed, draw_items
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count
from tdattr.tables import read_text

FOLDER = "celeba"  # torchvision's, below its root
IMAGES = "img_align_celeba"
ATTRIBUTES, PARTITION, IDENTITIES = "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"
PARTS = {"train": "0", "test": "1"}  # the published validation part is the test split
WORDS = {"1": "yes", "-1": "no"}
NONE = "none"


@dataclass(frozen=True)
class CelebA(Source):
    """The faces and lists of https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, in ``root`` or ``celeba`` below it.

    The central square of ``crop`` pixels (null: the largest) is resized bilinearly. ``condition``: ``none`` or one of
    the attributes (no or yes). ``items`` of the training and of the validation part are drawn with ``subset_seed``.
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 2  # images are resized bilinearly

    root: str
    crop: Count | None
    resolution: Count
    condition: str
    items: ItemsConfig
    subset_seed: SubsetSeed

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of each list and a digest of the names, sizes and times of change of the faces that are used.

        Raises UserError where one of them is missing, and for an unknown condition.
        """
        lists = [self.file(ATTRIBUTES), self.file(PARTITION)]
        missing = [path.name for path in (*lists, self.file(IMAGES)) if not path.exists()]
        if missing:
            raise UserError(
                f"CelebA is not in {self.root!r} ({', '.join(missing)} missing): give its folder with "
                f"dataset.source.root=<folder>, or fetch it with {torchvision('CelebA', self.path)}"
            )
        names, values = read_attributes(self.file(ATTRIBUTES))
        if self.condition not in (NONE, *names):
            raise UserError(
                f"dataset.source.condition={self.condition} is unknown: choose {NONE} or one of {', '.join(names)}."
            )
        differing = sorted(values.keys() ^ read_list(self.file(PARTITION)).keys())
        if differing:
            raise UserError(
                f"{self.folder}: {ATTRIBUTES} or {PARTITION} does not list {differing[0]}: fetch both again."
            )
        faces = [self.file(IMAGES) / name for split in SPLITS for name in self.fields(split)]
        remedy = f"{self.file(PARTITION)} lists them, so unpack {IMAGES}.zip again."
        digests = {path.name: digest(path) for path in (*lists, self.file(IDENTITIES)) if path.exists()}
        return digests | {"images": stamp(faces, self.folder, remedy)}

    def count(self, split: str) -> int:
        """As many as are drawn, or all 162 770 or 19 867."""
        return len(self.select(split))

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the order of the published list.

        The fields are the attributes, ``yes`` or ``no``, and ``identity`` (a number) where its list is there.
        """
        for face, fields in self.fields(split).items():
            yield Example(
                image=partial(read_image, self.file(IMAGES) / face, self.resolution, 3, crop=self.crop),
                condition=None if self.condition == NONE else one_hot(int(fields[self.condition] == "yes"), 2),
                fields=fields,
            )

    def fields(self, split: str) -> dict[str, dict[str, str]]:
        """File name -> fields of the split's items. Raises UserError where a list leaves one of them out."""
        names, attributes = read_attributes(self.file(ATTRIBUTES))
        identities = read_list(self.file(IDENTITIES)) if self.file(IDENTITIES).is_file() else None
        fields = {}
        for face in self.select(split):
            values = attributes.get(face, "").split()
            if len(values) != len(names) or not WORDS.keys() >= set(values):
                raise UserError(
                    f"{self.file(ATTRIBUTES)} has no {len(names)} values of 1 or -1 for {face}: fetch it again."
                )
            if identities is not None and face not in identities:
                raise UserError(f"{self.file(IDENTITIES)} does not list {face}: fetch it again, or take it away.")
            identity = {} if identities is None else {"identity": identities[face]}
            fields[face] = {name: WORDS[value] for name, value in zip(names, values, strict=True)} | identity
        return fields

    def select(self, split: str) -> list[str]:
        """The file names of the split's items, in the published order. Raises UserError where there are too few."""
        names = [name for name, part in read_list(self.file(PARTITION)).items() if part == PARTS[split]]
        count = self.items.of(split, len(names))
        return names if count is None else [names[index] for index in draw_items(len(names), count, self.subset_seed)]

    def file(self, name: str) -> Path:
        """One of the lists, or the folder of the faces."""
        return self.folder / name

    @property
    def folder(self) -> Path:
        """Where the lists lie."""
        return self.path / FOLDER if (self.path / FOLDER).is_dir() else self.path

    @property
    def path(self) -> Path:
        return expand(self.root)


def read_list(path: Path, header: int = 0) -> dict[str, str]:
    """File name -> the rest of its line, below so many lines of header.

    Raises UserError where the list cannot be read, or has a file twice or without a value.
    """
    rows: dict[str, str] = {}
    for number, line in enumerate(read_lines(path)[header:], start=header + 1):
        name, _, value = line.strip().partition(" ")
        if not value or name in rows:
            raise UserError(f"{path}, line {number}, has {name!r} twice or without a value: fetch it again.")
        rows[name] = value.strip()
    return rows


def read_attributes(path: Path) -> tuple[list[str], dict[str, str]]:
    """The names of the attributes, and file name -> their values, 1 or -1 each.

    The list begins with the number of faces and the names. Raises UserError where it is cut short or damaged.
    """
    lines = read_lines(path)
    rows = read_list(path, header=2)
    if len(lines) < 2 or lines[0].strip() != str(len(rows)):
        raise UserError(f"{path} should begin with the number of its faces, {len(rows)}: fetch it again.")
    return lines[1].split(), rows


def read_lines(path: Path) -> list[str]:
    """The lines of a list. Raises UserError where it cannot be read."""
    return read_text(path, "fetch it again").rstrip().split("\n")
