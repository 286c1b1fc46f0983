"""Losses, results and pictures in TensorBoard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tdattr.loggers import Logger, Picture, list_numbers


@dataclass(frozen=True)
class TensorBoard(Logger):
    """The ``logger=tensorboard`` node: a folder ``save_dir/name`` with a version for every run."""

    save_dir: str
    name: str

    def start(self) -> Any:
        """Lightning's own; its version is decided here, for all processes that will write."""
        from lightning.pytorch.loggers import TensorBoardLogger

        version = TensorBoardLogger(self.save_dir, self.name).version
        return TensorBoardLogger(self.save_dir, self.name, version)

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """The config is the one hyperparameter, as YAML; the numbers are its metrics."""
        import yaml

        for name, picture in pictures.items():
            logger.experiment.add_image(f"images/{name}", picture, dataformats="HWC")
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        logger.log_hyperparams({"config": text}, list_numbers(summary))
        logger.finalize("success")
