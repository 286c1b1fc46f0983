"""Sources of items that are given, or read when they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tdattr.data.preparation import prepare
from tdattr.data.prepared import Example, Prepared, Source, load, one_hot
from tdattr.errors import UserError


@dataclass(frozen=True)
class Tiny(Source):
    """A source whose items are given; ``missing`` items are announced but never come."""

    items: dict[str, list[Example]] = field(default_factory=dict)
    missing: int = 0

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(self.items[split]) + self.missing

    def examples(self, split: str) -> Iterator[Example]:
        yield from self.items[split]


def example(number: int, size: int = 4) -> Example:
    return Example(
        image=np.full((size, size, 3), number, np.uint8),
        condition=np.concatenate([one_hot(number % 3, 3), one_hot((number + 1) % 3, 3)]),
        prompts=(f'item {number}, "quoted"', "NA\nsecond line – Ünïcødé 猫"),
        fields={"label": f"{number % 2:02d}"},
    )


def tiny(train: int = 5, test: int = 2) -> Tiny:
    return Tiny({"train": [example(i) for i in range(train)], "test": [example(100 + i) for i in range(test)]})


def prepared(source: Tiny, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(source, folder, "tiny")
    return load(folder)


class Files(Source):
    """A source whose images are read when they are asked for: counts the reading, and can be interrupted or spoilt."""

    def __init__(
        self,
        count: int,
        stop_at: int | None = None,
        spoilt: tuple[int, ...] = (),
        tests: int = 0,
        skips: bool | None = None,
        stop_after: int = 0,
    ) -> None:
        self.numbers = {"train": range(count), "test": range(count, count + tests)}
        self.stop_at, self.spoilt, self.skips, self.stop_after = stop_at, spoilt, skips, stop_after
        self.read: list[int] = []

    @property
    def skips_unreadable(self) -> bool | None:
        return self.skips

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(self.numbers[split])

    def examples(self, split: str) -> Iterator[Example]:
        for index in self.numbers[split]:
            yield Example(lambda index=index: self.image(index), None, (f"caption {index}", "x" * index))

    def image(self, index: int) -> np.ndarray:
        if index == self.stop_at and len(self.read) >= self.stop_after:
            raise KeyboardInterrupt
        if index in self.spoilt:
            raise UserError(f"{index}.jpg cannot be read: mend it.")
        self.read.append(index)
        return np.full((2, 2, 1), index, np.uint8)


def lengths(texts: list[str]) -> np.ndarray:
    """A text encoder."""
    return np.array([[len(text), 1] for text in texts], np.float32)
