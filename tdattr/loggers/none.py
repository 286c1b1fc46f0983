"""No logger: the run directory has the summary all the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tdattr.loggers import Logger, Picture


@dataclass(frozen=True)
class NoLogger(Logger):
    """The ``logger=none`` node."""

    def start(self) -> None:
        """Losses are not kept."""

    def finish(
        self, logger: Any, config: dict[str, Any], summary: dict[str, Any], pictures: Mapping[str, Picture]
    ) -> None:
        """Nothing is left."""
