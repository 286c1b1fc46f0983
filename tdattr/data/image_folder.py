"""Any folder of images: a sub-folder is a group, a captions file gives the prompts."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tdattr.data.images import (
    LIMIT_PIXELS,
    OTHER_SUFFIXES,
    SUFFIXES,
    identify,
    list_images,
    read_image,
    stamp,
    walk,
)
from tdattr.data.names import FIELD, name_paths, show_name
from tdattr.data.prepared import Example, Source, one_hot
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count, CountOrZero, Range
from tdattr.tables import read_json, read_rows
from tdattr.wording import counted

log = logging.getLogger(__name__)
TOP = "."  # the group of images that lie in no sub-folder


@dataclass(frozen=True)
class ImageFolder(Source):
    """The images at any depth below ``root``, resized bilinearly by the shorter side and cropped to the central square;
    hidden files do not count, and links to folders are followed.

    ``max_pixels``: JPEGs with more are decoded at a half, a quarter or an eighth of their sides, other images refused.
    ``unreadable``: whether an image that cannot be read ends the preparation (``stop``) or is left out (``skip``).
    ``channels``: 1 (gray) or 3. ``condition``: ``none`` or ``group`` (one of the sorted groups). Every ``held_out``-th
    image of each group is test; 0: none. ``captions``: a file, sought in ``root`` unless its path is absolute, either
    .json ``{file: caption}`` or CSV with the columns file and caption, where a file is named as in ``cats/1.png``.
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

    def __post_init__(self) -> None:
        if self.held_out == 1:
            raise UserError(f"dataset.source.held_out={self.held_out} leaves nothing to train on: give 0, or 2 and up.")

    @property
    def skips_unreadable(self) -> bool:
        """As the setting says."""
        return self.unreadable == "skip"

    def fingerprint(self) -> dict[str, str]:
        """A digest of the images' names, sizes and times of change, and one of the captions. What looks like an image
        and is not read is logged.

        Raises UserError where the folder, the images of a group, or the captions file are missing.
        """
        digests = {"images": stamp((path for path, _ in self.members()), self.folder)}
        self.warn_of_others()
        if self.captions and not self.captions_path.is_file():
            raise UserError(f"{self.captions_path} is missing: mend dataset.source.captions=<file>, or set it to null.")
        if self.captions:
            digests["captions"] = digest(self.captions_path)
        return digests

    def count(self, split: str) -> int:
        """The number of image files in the split."""
        return len(self.members(split))

    def examples(self, split: str) -> Iterator[Example]:
        """Items group by group in the order of their names; the fields are ``group``, the sub-folder, and ``name``, the
        path below ``root``.

        Raises UserError for an image that cannot be read or, before the first image, where one has no caption.
        """
        groups = list(self.groups)
        names = {path: name for name, path in name_paths([path for path, _ in self.members()], self.folder).items()}
        captions = read_captions(self.captions_path) if self.captions else {}
        bare = [name for name in names.values() if name not in captions]
        if self.captions and bare:
            images, them = counted(len(bare), "image"), "it" if len(bare) == 1 else "them"
            raise UserError(f"{self.captions_path} has no caption for {images}, first {bare[0]}: add {them}.")
        for path, group in self.members(split):
            yield Example(
                image=partial(read_image, path, self.resolution, self.channels, max_pixels=self.max_pixels),
                condition=one_hot(groups.index(group), len(groups)) if self.condition == "group" else None,
                prompts=(captions[names[path]],) if self.captions else (),
                fields={"group": group, FIELD: names[path]},
            )

    def members(self, split: str | None = None) -> list[tuple[Path, str]]:
        """The image files of a split (or of both), each with its group."""
        return [
            (path, group)
            for group, paths in self.groups.items()
            for number, path in enumerate(paths, start=1)
            if split is None or (split == "test") == bool(self.held_out and number % self.held_out == 0)
        ]

    @cached_property
    def groups(self) -> dict[str, list[Path]]:
        """The image files of each group, both sorted by name. Raises UserError where there are none."""
        root = self.folder
        if not self.root or not root.is_dir():
            given = str(root) if self.root else ""
            raise UserError(f"{given!r} is no folder: give the images' folder with dataset.source.root=<folder>.")
        folders = name_paths([path for path in self.visible if path.is_dir()], root)
        groups = {name: list_images(self.files[path], root) for name, path in folders.items()}
        if top := list_images(self.visible, root):
            groups = {TOP: top} | groups
        if not any(groups.values()):
            raise UserError(f"{root} holds no images: give the images' folder with dataset.source.root=<folder>.")
        seen: dict[tuple[int, int], Path] = {}
        for group, paths in groups.items():
            if not paths:
                raise UserError(f"group {group} has no images: put some into {root / group}, or remove that folder.")
            for path in paths:
                if (other := seen.setdefault(identify(path), path)) is not path:
                    raise UserError(f"{show_name(path)} and {show_name(other)} are one file: remove one of them.")
        return groups

    @cached_property
    def visible(self) -> list[Path]:
        """What lies in ``root`` itself and is not hidden, sorted."""
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))

    @cached_property
    def files(self) -> dict[Path, list[Path]]:
        """Every file below each sub-folder."""
        return {path: list(walk(path)) for path in self.visible if path.is_dir()}

    def warn_of_others(self) -> None:
        """Say which files look like images and are not read, and how many."""
        files = self.visible + [path for paths in self.files.values() for path in paths]
        visible = [path for path in files if not path.name.startswith(".")]
        others = Counter(path.suffix.lower() for path in visible if path.suffix.lower() in OTHER_SUFFIXES)
        broken = [path for path in visible if path.suffix.lower() in SUFFIXES and not path.exists()]
        counts = [f"{count} {suffix}" for suffix, count in sorted(others.items())]
        counts += [counted(len(broken), "broken link")] if broken else []
        if counts:
            log.warning(
                "%s: some files are not read (%s): save them as PNG or JPEG to use them.",
                show_name(self.folder), ", ".join(counts),
            )  # fmt: skip

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
