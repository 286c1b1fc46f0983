"""Several loggers at once: each gets what it would get alone."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from tdattr.errors import UserError
from tdattr.loggers import Guarded, Logger, Picture, Recorder, Results, RunInfo


class Recorders(Recorder):
    """Those that were started, by name: one that fails costs the others nothing."""

    def __init__(self, by_name: Mapping[str, Recorder]) -> None:
        self.by_name = by_name
        self.guarded = [Guarded(recorder, name) for name, recorder in by_name.items()]

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """To each of them."""
        for recorder in self.guarded:
            recorder.log(section, item, step, values)

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """To each of them, drawn once."""
        drawn = cache(draw)
        for recorder in self.guarded:
            recorder.show(name, drawn, step)


@dataclass(frozen=True)
class Several(Logger):
    """The ``logger=several`` node, which ``logger=[csv,wandb]`` is short for. ``loggers``: by the names of choices."""

    loggers: dict[str, Logger]

    def __post_init__(self) -> None:
        if not self.loggers:
            raise UserError("logger=several holds no logger: name them, as in logger=[csv,wandb].")

    def start(self, run: RunInfo) -> Recorders:
        """Each of them; those that were started are closed again where one does not start."""
        started: dict[str, Recorder] = {}
        try:
            for name, part in self.loggers.items():
                started[name] = part.start(run)
        except BaseException:
            self.abandon(Recorders(started))
            raise
        return Recorders(started)

    def finish(self, recorder: Any, results: Results) -> None:
        """To each its own, in the order in which they were named; one that fails costs the others nothing."""
        with ExitStack() as stack:
            for name, part in reversed(self.loggers.items()):
                stack.callback(part.finish, recorder.by_name[name], results)

    def abandon(self, recorder: Any) -> None:
        """All that were started."""
        with ExitStack() as stack:
            for name, started in recorder.by_name.items():
                stack.callback(self.loggers[name].abandon, started)
