"""``plan: true``, wherever a command has it from, is noticed when its config is composed, before a folder is made."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

NOTICE = "plan"  # its name among Hydra's callbacks (conf/config.yaml); a command without it goes on as it is


class Planned(BaseException):
    """The command is to be planned instead of run. No Exception: of those Hydra makes warnings."""


class Notice(Callback):
    """Hydra's callback that ends a command which is to be planned, so that it can be given again with the settings of
    one that leaves nothing."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a single run. Raises Planned."""
        if config.plan:
            raise Planned

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a sweep; what its jobs alone say, `tdattr.sweeps` finds. Raises Planned."""
        if config.plan:
            raise Planned
