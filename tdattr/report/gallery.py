"""Training items as a page shows them: the picture and the tooltip of each are made once, though many runs name it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tdattr.pictures import data_uri, to_uint8


class Gallery:
    """Those of one split."""

    def __init__(self, split: Any) -> None:  # a Split
        self.split = split
        self.shown: dict[int, tuple[str, str]] = {}

    def show(self, ids: Sequence[int]) -> list[tuple[str, str]]:
        """The source of an <img>, and what a tooltip says, of each item."""
        if new := [index for index in dict.fromkeys(ids) if index not in self.shown]:
            pictures = to_uint8(self.split.images(np.array(new)))
            rows = self.split.items.iloc[new].to_dict("records")
            for index, picture, row in zip(new, pictures, rows, strict=True):
                self.shown[index] = data_uri(picture), label(row)
        return [self.shown[index] for index in ids]


def label(item: dict[Any, Any]) -> str:
    """What a tooltip says about a training item: its id, its file where that is known, and its prompt or all else."""
    words = [item[key] for key in ("name", "prompt") if item.get(key)]
    if not item.get("prompt"):
        words += [str(value) for key, value in item.items() if key not in ("id", "name")]
    return f"id {item['id']}: " + ", ".join(words)
