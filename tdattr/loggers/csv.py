"""Numbers as a CSV file, pictures as PNGs beside it."""

import os
from collections.abc import Callable, Mapping
from csv import DictReader, DictWriter, reader
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.files import move_into_place, name_aside, writing
from tdattr.loggers import Logger, Picture, Recorder, Results, RunInfo

TABLE = "metrics.csv"
FIRST = ("item", "step")  # columns


class Lines(Recorder):
    """A line for every step of everything, added to the file as it is: a run that goes on, or another process of it,
    may have written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def table(self) -> Path:
        """The file."""
        return self.folder / TABLE

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """A line; numbers stand in columns such as ``train/loss``."""
        self.add({"item": item, "step": step} | {f"{section}/{name}": value for name, value in values.items()})

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """The last one that there is of that name."""
        from PIL import Image

        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.folder):
            Image.fromarray(draw()).save(self.folder / f"{name}.png")

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line, and the whole file anew where it has columns that the file does not have yet."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.drop_half_line()
            columns = self.read_columns()
            if new := sorted(line.keys() - set(columns)):
                self.widen([*columns, *new] if columns else [*FIRST, *sorted(set(new) - set(FIRST))])
                columns = self.read_columns()
            with self.table.open("a", newline="") as file:
                DictWriter(file, columns).writerow(line)

    def drop_half_line(self) -> None:
        """Cut off a last line that was never ended, as a full disk leaves it."""
        if not self.table.exists() or not self.table.stat().st_size:
            return
        with self.table.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    def read_columns(self) -> list[str]:
        """The columns that the file has."""
        if not self.table.exists():
            return []
        with self.table.open(newline="") as file:
            return next(reader(file), [])

    def widen(self, columns: list[str]) -> None:
        """Give the file more columns, in one step."""
        lines = list(DictReader(self.table.read_text().splitlines())) if self.table.exists() else []
        with name_aside(self.table).open("w", newline="") as file:
            writer = DictWriter(file, columns, extrasaction="ignore")  # of lines with more cells than columns
            writer.writeheader()
            writer.writerows(lines)
        move_into_place(name_aside(self.table), self.table)


@dataclass(frozen=True)
class CSV(Logger):
    """The ``logger=csv`` node: ``metrics.csv`` and the pictures in ``save_dir``."""

    save_dir: str

    def start(self, run: RunInfo) -> Lines:
        """The file is made with its first line."""
        return Lines(Path(self.save_dir))

    def finish(self, recorder: Any, results: Results) -> None:
        """The results are the last line."""
        recorder.add({"item": "results"} | results.numbers)
        for name, draw in results.pictures.items():
            recorder.show(name, draw, 0)
