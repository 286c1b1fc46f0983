"""Any folder of images: a sub-folder is a group, a captions file gives the prompts."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from tdattr.data.images import list_images, read_image, stamp
from tdattr.data.prepared import Example, Source, one_hot
from tdattr.errors import UserError
from tdattr.files import digest

TOP = "."  # the group of images that lie in no sub-folder


@dataclass(frozen=True)
class ImageFolder(Source):
    """The images at any depth below ``root``, resized bilinearly by the shorter side and cropped to the central square;
    hidden files do not count.

    ``channels``: 1 (gray) or 3. ``condition``: ``none`` or ``group`` (one of the sorted groups). Every ``held_out``-th
    image of each group is test; 0: none. ``captions``: a file, sought in ``root`` unless its path is absolute, either
    .json ``{file: caption}`` or CSV with the columns file and caption, where a file is named as in ``cats/1.png``.
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 2  # images are resized bilinearly

    root: str
    resolution: int
    channels: Literal[1, 3]
    condition: Literal["none", "group"]
    held_out: int
    captions: str | None

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise UserError(f"dataset.source.resolution={self.resolution} must be at least 1.")
        if self.held_out < 0 or self.held_out == 1:
            raise UserError(f"dataset.source.held_out={self.held_out} leaves nothing to train on: give 0, or 2 and up.")

    def fingerprint(self) -> dict[str, str]:
        """A digest of the images' names, sizes and times of change, and one of the captions.

        Raises UserError where the folder, the images of a group, or the captions file are missing.
        """
        digests = {"images": stamp((path for path, _ in self.members()), self.folder)}
        if self.captions and not self.captions_path.is_file():
            raise UserError(f"{self.captions_path} is missing: mend dataset.source.captions=<file>, or set it to null.")
        if self.captions:
            digests["captions"] = digest(self.captions_path)
        return digests

    def count(self, split: str) -> int:
        """The number of image files in the split."""
        return len(self.members(split))

    def examples(self, split: str) -> Iterator[Example]:
        """Items group by group in the order of their names; the field ``group`` is the sub-folder.

        Raises UserError for an image that cannot be read or, before the first image, where one has no caption.
        """
        groups = list(self.groups())
        captions = read_captions(self.captions_path) if self.captions else {}
        bare = [name for name in (self.name(path) for path, _ in self.members()) if name not in captions]
        if self.captions and bare:
            raise UserError(f"{self.captions_path} has no caption for {len(bare)} images, first {bare[0]}: add them.")
        for path, group in self.members(split):
            yield Example(
                image=partial(read_image, path, self.resolution, self.channels),
                condition=one_hot(groups.index(group), len(groups)) if self.condition == "group" else None,
                prompts=(captions[self.name(path)],) if self.captions else (),
                fields={"group": group},
            )

    def members(self, split: str | None = None) -> list[tuple[Path, str]]:
        """The image files of a split (or of both), each with its group."""
        return [
            (path, group)
            for group, paths in self.groups().items()
            for number, path in enumerate(paths, start=1)
            if split is None or (split == "test") == bool(self.held_out and number % self.held_out == 0)
        ]

    def groups(self) -> dict[str, list[Path]]:
        """The image files of each group, both sorted by name. Raises UserError where there are none."""
        root = self.folder
        if not self.root or not root.is_dir():
            raise UserError(f"{self.root!r} is no folder: give the images' folder with dataset.source.root=<folder>")
        visible = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        groups = {path.name: list_images(path.rglob("*"), root) for path in visible if path.is_dir()}
        if top := list_images(visible, root):
            groups = {TOP: top} | groups
        if not any(groups.values()):
            raise UserError(f"{root} holds no images: give the images' folder with dataset.source.root=<folder>")
        for group, paths in groups.items():
            if not paths:
                raise UserError(f"group {group} has no images: put some into {root / group}, or remove that folder.")
        return groups

    @property
    def folder(self) -> Path:
        return Path(self.root).expanduser()

    @property
    def captions_path(self) -> Path:
        return self.folder / Path(self.captions or "").expanduser()

    def name(self, path: Path) -> str:
        """What a captions file calls an image."""
        return path.relative_to(self.folder).as_posix()


def read_captions(path: Path) -> dict[str, str]:
    """File name -> caption. Raises UserError where the file cannot be read as what it ends like."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".json":
                captions = json.load(file)
            else:
                captions = {row["file"]: None if None in row else row["caption"] for row in csv.DictReader(file)}
        wrong = [name for name, caption in captions.items() if not isinstance(caption, str)]
        if wrong:
            raise ValueError(f"{wrong[0]} has no text, or one with an unquoted comma")
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        remedy = "write JSON {file: caption}, or CSV with the columns file and caption"
        raise UserError(f"{path} holds no captions ({type(error).__name__}: {error}): {remedy}.") from error
    return {name: "\n".join(caption.splitlines()) for name, caption in captions.items()}
