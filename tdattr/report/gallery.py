"""Training items and their groups as a page shows them: the picture and the words of each are in it once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tdattr.data.groups import list_owners
from tdattr.data.names import describe_item
from tdattr.ids import Ids
from tdattr.pictures import to_uint8
from tdattr.report.album import THUMB, Album

DIGITS = 4  # significant ones, of a number in the page


@dataclass
class Gallery:
    """Those of one split that something names; each is known by its number among the ``targets``."""

    split: Any  # a Split
    album: Album
    by: str | None = None  # what groups are made by; None: there are none
    ids: Ids | None = None  # of the items that F1 has seen; None: all
    targets: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[int | str, int] = field(default_factory=dict)  # by the id of an item or the name of a group

    @cached_property
    def owners(self) -> list[str]:
        """The group of every item."""
        return [] if self.by is None else [name for _, name in sorted(list_owners(self.split.items, self.by))]

    @cached_property
    def seen(self) -> Ids:
        """The ids of the items that F1 has seen, which is less than all where some were removed before."""
        return np.arange(len(self.split.items)) if self.ids is None else self.ids

    @cached_property
    def members(self) -> dict[str, Ids]:
        """The ids of every group, of items that F1 has seen; a group that it has seen nothing of is none."""
        owners = np.array(self.owners, dtype=object)[self.seen]
        return {name: self.seen[owners == name] for name in sorted(set(owners))}

    def show(self, ids: Sequence[int]) -> list[int]:
        """The number of each item."""
        if new := [index for index in dict.fromkeys(ids) if index not in self.numbers]:
            rows = self.split.items.iloc[new].to_dict("records")
            for index, picture, row in zip(new, self.draw(new), rows, strict=True):
                group = {"group": self.owners[index]} if self.by is not None else {}
                told = {"kind": "item", "id": index, "label": f"id {index}: {describe_item(row)}", "picture": picture}
                self.add(index, told | group)
        return [self.numbers[index] for index in ids]

    def show_groups(self, names: Sequence[str]) -> list[int]:
        """The number of each group, whose picture is that of its first item."""
        if new := [name for name in dict.fromkeys(names) if name not in self.numbers]:
            for name, picture in zip(new, self.draw([int(self.members[name][0]) for name in new]), strict=True):
                size = len(self.members[name])
                self.add(
                    name, {"kind": "group", "label": f"group {name}", "group": name, "picture": picture, "n": size}
                )
        return [self.numbers[name] for name in names]

    def draw(self, ids: Sequence[int]) -> list[int]:
        """The picture of each item."""
        return [self.album.add(image, THUMB) for image in to_uint8(self.split.images(np.array(ids)))]

    def add(self, key: int | str, target: dict[str, Any]) -> None:
        """One more."""
        self.numbers[key] = len(self.targets)
        self.targets.append(target)


def shorten(value: float | None) -> float | None:
    """A number with a few digits; None where it is none."""
    return float(f"{value:.{DIGITS}g}") if value is not None and np.isfinite(value) else None


def trim(entry: list[Any]) -> list[Any]:
    """Without the Nones at its end, but for the first two."""
    while len(entry) > 2 and entry[-1] is None:
        entry = entry[:-1]
    return entry
