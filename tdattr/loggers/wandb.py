"""Losses, results and pictures in Weights & Biases."""

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.loggers import Logger, Picture, list_numbers


@dataclass(frozen=True)
class WandB(Logger):
    """The ``logger=wandb`` node. ``offline``: None where it depends on whether there is a key to log in with."""

    project: str
    entity: str | None
    group: str
    name: str
    tags: list[str]
    save_dir: str
    offline: bool | None

    def start(self) -> Any:
        """Lightning's own."""
        from lightning.pytorch.loggers import WandbLogger

        Path(self.save_dir).mkdir(parents=True, exist_ok=True)
        offline = not has_wandb_key() if self.offline is None else self.offline
        return WandbLogger(
            name=self.name,
            save_dir=self.save_dir,
            offline=offline,
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags,
        )

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """The numbers are a table of one row, and the run's summary."""
        numbers = list_numbers(summary)
        logger.experiment.config.update(config, allow_val_change=True)
        logger.log_table("result", columns=list(numbers), data=[list(numbers.values())])
        for name, picture in pictures.items():
            logger.log_image(f"images/{name}", [picture])
        logger.experiment.summary.update(numbers)
        logger.experiment.finish()


def has_wandb_key() -> bool:
    """Whether a W&B key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
