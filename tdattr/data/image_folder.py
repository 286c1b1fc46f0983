"""Any folder of images: a sub-folder is a group, a table of metadata or a captions file says more."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tdattr.data.images import LIMIT_PIXELS, read_image
from tdattr.data.listing import Found, Listing, list_folder
from tdattr.data.metadata import TABLES, Metadata, choose_tables, read_metadata
from tdattr.data.names import FIELD, show_name
from tdattr.data.prepared import Example, Source, one_hot
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count, CountOrZero, Range
from tdattr.tables import read_json, read_rows
from tdattr.wording import counted


@dataclass(frozen=True)
class ImageFolder(Source):
    """The images at any depth below ``root``, resized bilinearly by the shorter side and cropped to the central square;
    hidden files do not count, and links to folders are followed.

    ``max_pixels``: JPEGs with more are decoded at a half, a quarter or an eighth of their sides, other images refused.
    ``unreadable``: whether an image that cannot be read ends the preparation (``stop``) or is left out (``skip``).
    ``channels``: 1 (gray) or 3. ``condition``: ``none`` or ``group`` (one of the sorted groups). Every ``held_out``-th
    image of each group is test; 0: none. ``captions``: a file, sought in ``root`` unless its path is absolute, either
    .json ``{file: caption}`` or CSV with the columns file and caption, where a file is named as in ``cats/1.png``.

    ``metadata``: a table as `tdattr.data.metadata` reads it, sought in ``root`` likewise; ``auto``: those that lie
    there or in a sub-folder and are called metadata.csv, .jsonl or .parquet. ``caption_column``: the one of its columns
    that has the prompts where ``captions`` is None; ``auto``: the first of text, caption and prompt that it has.
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 3  # items have names, links and .jfif are followed, and images of 32 bits refused

    root: str
    resolution: Count
    channels: Literal[1, 3]
    condition: Literal["none", "group"]
    held_out: CountOrZero
    captions: str | None
    max_pixels: Annotated[int, Range(least=1, most=LIMIT_PIXELS)]
    unreadable: Literal["stop", "skip"]
    metadata: str | None = None
    caption_column: str | None = None

    def __post_init__(self) -> None:
        if self.held_out == 1:
            raise UserError(f"dataset.source.held_out={self.held_out} leaves nothing to train on: give 0, or 2 and up.")
        if self.metadata == "":
            raise UserError("dataset.source.metadata must be auto, a file, or null.")

    def unread(self) -> dict[str, str]:
        """The column of captions, where these come from elsewhere."""
        if self.captions is not None:
            return {"caption_column": f"captions={self.captions}"}
        return {"caption_column": "metadata=null"} if self.metadata is None else {}

    @property
    def skips_unreadable(self) -> bool:
        """As the setting says."""
        return self.unreadable == "skip"

    def fingerprint(self) -> dict[str, str]:
        """A digest of the images' names, sizes and times of change, and of the captions and the metadata. What looks
        like an image and is not read is logged.

        Raises UserError where the folder, the images of a group, the captions or the metadata are missing.
        """
        digests = {"images": self.listing.stamp()}
        self.listing.warn_of_others(self.folder)
        if self.captions and not self.captions_path.is_file():
            raise UserError(f"{self.captions_path} is missing: mend dataset.source.captions=<file>, or set it to null.")
        if self.captions:
            digests["captions"] = digest(self.captions_path)
        if self.tables:
            known = [(folder, path.suffix, digest(path)) for path, folder in self.tables.items()]
            digests["metadata"] = hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return digests

    def file_of(self, name: str) -> Path:
        """Below ``root``; the name of one whose letters no table can hold leads nowhere."""
        return self.folder / name

    def count(self, split: str) -> int:
        """The number of image files in the split."""
        return len(self.members(split))

    def examples(self, split: str) -> Iterator[Example]:
        """Items group by group in the order of their names; the fields are ``group``, the sub-folder, ``name``, the
        path below ``root``, and those of the metadata.

        Raises UserError for an image that cannot be read or, before the first image, for one without a caption, and for
        metadata that are not as they should be.
        """
        prompts = self.prompts
        for example in self.samples(split):
            name = example.fields[FIELD]
            yield replace(
                example,
                prompts=() if prompts is None else (prompts[name],),
                fields=example.fields if self.known is None else {**example.fields, **self.known.fields[name]},
            )

    def samples(self, split: str = "train") -> Iterator[Example]:
        """The same without captions and metadata."""
        classes = {group: index for index, group in enumerate(self.listing.groups)}
        folder = self.folder
        for found, group in self.members(split):
            yield Example(
                image=partial(
                    read_image, folder / found.name, self.resolution, self.channels, max_pixels=self.max_pixels
                ),
                condition=one_hot(classes[group], len(classes)) if self.condition == "group" else None,
                fields={"group": group, FIELD: show_name(found.name)},
            )

    def members(self, split: str | None = None) -> list[tuple[Found, str]]:
        """The image files of a split (or of both), each with its group."""
        return [
            (found, group)
            for group, images in self.listing.groups.items()
            for number, found in enumerate(images, start=1)
            if split is None or (split == "test") == bool(self.held_out and number % self.held_out == 0)
        ]

    @cached_property
    def listing(self) -> Listing:
        """What lies in the folder, which is looked at once. Raises UserError where there is none, where there are no
        images, in all or in one group, and where a file is there twice."""
        if not self.root or not self.folder.is_dir():
            given = str(self.folder) if self.root else ""
            raise UserError(f"{given!r} is no folder: give the images' folder with dataset.source.root=<folder>.")
        listing = list_folder(self.folder, TABLES if self.metadata == "auto" else ())
        if not listing.images:
            raise UserError(
                f"{self.folder} holds no images: give the images' folder with dataset.source.root=<folder>."
            )
        seen: dict[tuple[int, int], Found] = {}
        for group, images in listing.groups.items():
            if not images:
                raise UserError(
                    f"group {group} has no images: put some into {self.folder / group}, or remove that folder."
                )
            for found in images:
                if (other := seen.setdefault(found.identity, found)) is not found:
                    one, two = (show_name(self.folder / each.name) for each in (found, other))
                    raise UserError(f"{one} and {two} are one file: remove one of them.")
        return listing

    @cached_property
    def names(self) -> list[str]:
        """Of all images, as tables show them. Raises UserError where two have the same."""
        named: dict[str, str] = {}
        for found in self.listing.images:
            name = show_name(found.name)
            if named.setdefault(name, found.name) != found.name:
                raise UserError(
                    f"{name} is there twice, with letters that are encoded in two ways: rename one of them."
                )
        return list(named)

    @cached_property
    def tables(self) -> dict[Path, str]:
        """The files of the metadata, each with the folder below ``root`` that its paths begin in. Raises UserError for
        one that is missing."""
        if self.metadata is None:
            return {}
        if self.metadata == "auto":
            chosen = choose_tables(self.listing.tables, self.folder)
            if not chosen and not self.captions and self.caption_column not in ("auto", None):
                raise UserError(
                    f"dataset.source.caption_column={self.caption_column} needs metadata, and {self.folder} has no "
                    f"{', '.join(TABLES[:-1])} or {TABLES[-1]}: add one, or leave it out."
                )
            return {self.folder / name: name.rpartition("/")[0] for name in chosen}
        path = self.folder / expand(self.metadata)
        if not path.is_file():
            raise UserError(f"{path} is missing: mend dataset.source.metadata=<file>, or set it to auto or null.")
        folder = os.path.relpath(path.parent, self.folder)
        return {path: "" if folder.split("/")[0] == ".." else folder}

    @cached_property
    def known(self) -> Metadata | None:
        """The metadata; None where there are none."""
        if not self.tables:
            return None
        return read_metadata(self.tables, self.names, None if self.captions else self.caption_column)

    @cached_property
    def prompts(self) -> dict[str, str] | None:
        """The caption of every image by its name; None where there are none. Raises UserError where one has none."""
        names = self.names
        if not self.captions:
            return None if self.known is None else self.known.captions
        captions = read_captions(self.captions_path)
        if bare := [name for name in names if name not in captions]:
            images, them = counted(len(bare), "image"), "it" if len(bare) == 1 else "them"
            raise UserError(f"{self.captions_path} has no caption for {images}, first {bare[0]}: add {them}.")
        return captions

    @property
    def folder(self) -> Path:
        return expand(self.root)

    @property
    def captions_path(self) -> Path:
        return self.folder / expand(self.captions or "")


def read_captions(path: Path) -> dict[str, str]:
    """The caption of every file, by its name. Raises UserError where the file cannot be read as what it ends like, or
    names a file twice."""
    remedy = "write JSON {file: caption}, or CSV with the columns file and caption (quote captions with commas)"
    entries: list[tuple[str, str, Any]]
    if path.suffix.lower() == ".json":
        content = read_json(path, remedy)
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no JSON object: {remedy}.")
        entries = [(str(path), name, caption) for name, caption in content.items()]
    else:
        rows = read_rows(path, ["file", "caption"], remedy)
        entries = [(f"{path}, line {line},", cells["file"], cells["caption"]) for line, cells in rows]
    captions: dict[str, str] = {}
    for place, name, caption in entries:
        if not isinstance(caption, str):
            raise UserError(f"{place} has no text for {name}: {remedy}.")
        if show_name(name) in captions:
            raise UserError(f"{place} has a second caption for {name}: remove one.")
        captions[show_name(name)] = caption.replace("\r\n", "\n").replace("\r", "\n")
    return captions
