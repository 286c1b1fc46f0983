"""Losses, results and pictures in Weights & Biases."""

import logging
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tdattr.errors import UserError, first_line
from tdattr.loggers import Logger, Picture, list_numbers

log = logging.getLogger(__name__)
MODES = ("online", "offline", "disabled", "shared", "dryrun")  # of WANDB_MODE
TIMEOUT_SECONDS = 30.0  # for W&B to answer


@dataclass(frozen=True)
class WandB(Logger):
    """The ``logger=wandb`` node. ``offline``: None where it depends on WANDB_MODE or, without that, on whether there
    is a key to log in with."""

    project: str
    entity: str | None
    group: str
    name: str
    tags: list[str]
    save_dir: str
    offline: bool | None

    def start(self) -> Any:
        """Lightning's own, around a run that begins now, so that it is known early whether W&B can be reached."""
        from lightning.pytorch.loggers import WandbLogger

        Path(self.save_dir).mkdir(parents=True, exist_ok=True)
        run = self.begin(self.mode())
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(save_dir=self.save_dir, project=self.project, experiment=run)

    def mode(self) -> str:
        """W&B's: by ``offline``, or the variable WANDB_MODE, which W&B itself reads once a process, or online where
        there is a key."""
        if self.offline is not None:
            return "offline" if self.offline else "online"
        if said := os.environ.get("WANDB_MODE"):
            if said not in MODES:
                raise UserError(f"WANDB_MODE={said} is unknown: choose {', '.join(MODES)}.")
            return said
        return "online" if has_wandb_key() else "offline"

    def begin(self, mode: str) -> Any:
        """A run of W&B's; offline, with a warning, where it cannot be reached."""
        import wandb

        try:
            return wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group,
                name=self.name,
                tags=self.tags,
                dir=self.save_dir,
                mode=cast(Any, mode),  # it refuses what is none
                reinit="finish_previous",
                settings=wandb.Settings(init_timeout=TIMEOUT_SECONDS),
            )
        except wandb.Error as error:
            if mode == "offline":
                raise
            log.warning(
                "W&B cannot be reached (%s): this run is kept in %s; `wandb sync` uploads it later.",
                first_line(error),
                self.save_dir,
            )
            return self.begin("offline")

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

    def abandon(self, logger: Any) -> None:
        """The run is marked as failed."""
        logger.experiment.finish(exit_code=1)


def has_wandb_key() -> bool:
    """Whether a W&B key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
