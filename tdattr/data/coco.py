"""COCO captions (Chen et al. 2015), split as in 2017: 118 287 + 5 000 photographs with five captions each."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from tdattr.data.images import list_images, read_image, stamp
from tdattr.data.prepared import Example, Outline, Source
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count
from tdattr.tables import read_json

PUBLISHED = {"train": 118_287, "test": 5_000}
NAMES = {"train": "train2017", "test": "val2017"}
SITE = "http://images.cocodataset.org"
ANNOTATIONS = f"{SITE}/annotations/annotations_trainval2017.zip"
Photographs = list[tuple[int, str, tuple[str, ...]]]  # id, file name, captions in the order of their ids; by id


@dataclass(frozen=True)
class Coco(Source):
    """``train2017``, ``val2017`` (the test split) and ``annotations/captions_{train,val}2017.json`` below ``root``.

    Photographs are kept whole, their shorter side resized bilinearly to ``resolution`` (MUCS): trainings see random
    windows of that side, everything else the central ones. The first ``captions`` of every photograph are its prompts.
    There is no condition: a text encoder (``dataset.text``) makes one from each prompt.
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 3  # photographs are resized bilinearly and kept whole

    root: str
    resolution: Count
    captions: Count

    @property
    def window(self) -> int:
        """The side of what is seen of a photograph."""
        return self.resolution

    def fingerprint(self) -> dict[str, str]:
        """The SHA-256 of the captions, and a digest of the photographs' names, sizes and times of change.

        Raises UserError where a folder or a file of captions is missing. The captions are not parsed, which takes
        seconds.
        """
        fetched_from = {path: f"{SITE}/zips/{path.name}.zip" for path in map(self.folder, NAMES)}
        fetched_from |= dict.fromkeys(map(self.table, NAMES), ANNOTATIONS)
        missing = [path for path in fetched_from if not path.exists()]
        if missing:
            names = ", ".join(path.relative_to(self.path).as_posix() for path in missing)
            fetch = " and ".join(dict.fromkeys(fetched_from[path] for path in missing))
            raise UserError(
                f"COCO is not in {self.root!r} ({names} missing): give its folder with dataset.source.root=<folder>, "
                f"or fetch {fetch} and unpack them there."
            )
        digests: dict[str, str] = {}
        for split, name in NAMES.items():
            photographs = list_images(self.folder(split).iterdir(), self.path)
            digests |= {f"{name} captions": digest(self.table(split)), name: stamp(photographs, self.path)}
        return digests

    def count(self, split: str) -> int:
        """The number of photographs that the annotations list. Raises UserError where one of them is missing."""
        names = {path.name for path in self.folder(split).iterdir()}
        missing = [name for _, name, _ in self.photographs(split) if name not in names]
        if missing:
            others = f" ({len(missing)} images in all)" if len(missing) > 1 else ""
            raise UserError(
                f"{self.folder(split) / missing[0]} is missing{others}: {self.table(split)} lists them, so unpack "
                f"{SITE}/zips/{NAMES[split]}.zip again."
            )
        return len(self.photographs(split))

    def examples(self, split: str) -> Iterator[Example]:
        """Items in the order of COCO's ids; the field ``image_id`` is that id."""
        for number, name, captions in self.photographs(split):
            yield Example(
                image=partial(read_image, self.folder(split) / name, self.resolution, 3, "whole"),
                prompts=captions[: self.captions],
                fields={"image_id": str(number)},
            )

    def outline(self, split: str) -> Outline:
        """Photographs with their captions, of which nothing but the number is known."""
        import pandas as pd

        count = PUBLISHED[split]
        prompts = {f"prompt{number or ''}": [""] * count for number in range(self.captions)}
        items = pd.DataFrame({"id": np.arange(count), **prompts, "image_id": np.arange(count).astype(str)})
        return Outline(items, (self.resolution, self.resolution, 3), None)

    def photographs(self, split: str) -> Photographs:
        """Those of a split. Raises UserError where one has too few captions."""
        table = self.table(split)
        photographs = read_captions(table, table.stat().st_mtime_ns if table.exists() else 0)
        for number, name, captions in photographs:
            if len(captions) < self.captions:
                raise UserError(
                    f"{table} has {len(captions)} captions for image {number} ({name}), fewer than "
                    f"dataset.source.captions={self.captions}: lower that number, or fetch {ANNOTATIONS} again."
                )
        return photographs

    def folder(self, split: str) -> Path:
        """The photographs of a split."""
        return self.path / NAMES[split]

    def table(self, split: str) -> Path:
        """The captions of a split."""
        return self.path / "annotations" / f"captions_{NAMES[split]}.json"

    @property
    def path(self) -> Path:
        return expand(self.root)


@lru_cache(maxsize=4)
def read_captions(path: Path, changed: int) -> Photographs:
    """What a file of captions lists, white space within a caption as single spaces; ``changed``: its time of change.

    Raises UserError where it cannot be read, an id appears twice, or a caption is of an image that it does not list.
    """
    again = f"fetch {ANNOTATIONS} again"
    try:
        content = read_json(path, again)
        listed = [(int(entry["id"]), str(entry["file_name"])) for entry in content["images"]]
        notes = sorted(
            (int(note["id"]), int(note["image_id"]), " ".join(note["caption"].split()))
            for note in content["annotations"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no COCO captions ({type(error).__name__}: {error}): {again}.") from error
    for kind, ids in (("image", [number for number, _ in listed]), ("caption", [number for number, _, _ in notes])):
        number, times = Counter(ids).most_common(1)[0] if ids else (0, 0)
        if times > 1:
            raise UserError(f"{path} lists {kind} {number} more than once: {again}.")
    captions: dict[int, list[str]] = defaultdict(list)
    for _, number, caption in notes:
        captions[number] += [caption] if caption else []
    unknown = sorted(captions.keys() - {number for number, _ in listed})
    if unknown:
        raise UserError(f"{path} has captions for image {unknown[0]}, which it does not list: {again}.")
    return [(number, name, tuple(captions[number])) for number, name in sorted(listed)]
