"""No logger: the run directory has the summary all the same."""

from dataclasses import dataclass
from typing import Any

from tdattr.loggers import Logger, Recorder, Results, RunInfo


@dataclass(frozen=True)
class NoLogger(Logger):
    """The ``logger=none`` node."""

    def start(self, run: RunInfo) -> Recorder:
        """Nothing is kept."""
        return Recorder()

    def finish(self, recorder: Any, results: Results) -> None:
        """Nothing is left."""
