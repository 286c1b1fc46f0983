"""Several loggers at once: each gets what it would get alone."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tdattr.errors import UserError
from tdattr.loggers import Logger, Picture


class Started(list[Any]):
    """The loggers of Lightning's that were started, without those parts that want no losses."""

    def __init__(self, by_name: Mapping[str, Any]) -> None:
        super().__init__(logger for logger in by_name.values() if logger is not None)
        self.by_name = by_name


@dataclass(frozen=True)
class Several(Logger):
    """The ``logger=several`` node, which ``logger=[csv,wandb]`` is short for. ``loggers``: by the names of choices."""

    loggers: dict[str, Logger]

    def __post_init__(self) -> None:
        if not self.loggers:
            raise UserError("logger=several holds no logger: name them, as in logger=[csv,wandb].")

    def start(self) -> Started:
        """All of Lightning's own that there are, which its trainer takes as a list."""
        started: dict[str, Any] = {}
        try:
            for name, part in self.loggers.items():
                started[name] = part.start()
        except BaseException:
            self.abandon(Started(started))
            raise
        return Started(started)

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """To each its own, in the order in which they were named; one that fails costs the others nothing."""
        with ExitStack() as stack:
            for name, part in reversed(self.loggers.items()):
                stack.callback(part.finish, logger.by_name[name], config, summary, pictures)

    def abandon(self, logger: Any) -> None:
        """All that were started."""
        with ExitStack() as stack:
            for name, started in logger.by_name.items():
                stack.callback(self.loggers[name].abandon, started)
