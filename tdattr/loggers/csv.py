"""Losses and results as a CSV file, pictures as PNGs beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        """The numbers are the file's last line."""
        from PIL import Image

        logger.log_metrics(list_numbers(summary))
        logger.save()
        for name, picture in pictures.items():
            Image.fromarray(picture).save(Path(logger.log_dir) / f"{name}.png")
