"""Losses and results as a CSV file, pictures as PNGs beside it."""

from collections.abc import Mapping
from csv import DictReader, DictWriter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.files import move_into_place, name_aside, writing
from tdattr.loggers import Logger, Picture, list_numbers


@dataclass(frozen=True)
class CSV(Logger):
    """The ``logger=csv`` node: ``save_dir/name/version/metrics.csv``."""

    save_dir: str
    name: str
    version: str

    def start(self) -> Any:
        """Lightning's own."""
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger(self.save_dir, self.name, self.version)

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """The numbers are the last line. They are added to the file as it is: it may have been written by another
        process, one of several that have trained, whose lines Lightning's logger would delete here."""
        from PIL import Image

        table = Path(logger.log_dir) / "metrics.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        lines = list(DictReader(table.read_text().splitlines())) if table.exists() else []
        lines.append({"step": len(lines)} | list_numbers(summary))
        with writing(table.parent):
            with name_aside(table).open("w", newline="") as file:
                writer = DictWriter(file, sorted({name for line in lines for name in line}))
                writer.writeheader()
                writer.writerows(lines)
            move_into_place(name_aside(table), table)
        for name, picture in pictures.items():
            Image.fromarray(picture).save(Path(logger.log_dir) / f"{name}.png")
