"""Loggers: where what a run measures goes while it lasts, and its numbers, pictures and files when it is done."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdattr.configs import Node
from tdattr.errors import first_line
from tdattr.recorder import Picture, Recorder

__all__ = ["Guarded", "Logger", "Picture", "Recorder", "Results", "RunInfo", "list_numbers"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInfo:
    """What a logger is told of a run that begins."""

    folder: Path  # its own; a run that is started there again goes on with the same id
    id: str  # 16 letters and digits, which no other run has
    experiment: str  # a name that all runs have which may stand in one table of a report
    columns: dict[str, str | float]  # what runs are compared by: names and numbers, without nesting
    config: dict[str, Any]  # the whole composed config


@dataclass(frozen=True)
class Results:
    """What a run leaves.

    ``summary``: the content of ``summary.json``; see `list_numbers`. ``headline``: its main numbers and their
    intervals, under short names. ``pictures``: what draws grids of images. ``attributions``: makes the columns of a
    table, of numbers, texts and pictures. ``files``: makes the files of the run's report and gives them, with the run's
    own. ``scores``: makes the columns of the highest and lowest scores, a row for each query and target; none where
    they are not stored any more.
    """

    summary: dict[str, Any]
    headline: dict[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[], Picture]] = field(default_factory=dict)
    attributions: Callable[[], Mapping[str, list[Any]]] = dict
    files: Callable[[], list[Path]] = list
    scores: Callable[[], Mapping[str, list[Any]]] = dict

    @property
    def numbers(self) -> dict[str, float]:
        """All of them, by name."""
        return list_numbers(self.summary) | self.headline


class Logger(Node, ABC):
    """The ``logger`` config node: a frozen dataclass whose fields are its settings.

    What is heavy is imported inside the methods, so that a command that stops early stays fast.
    """

    @abstractmethod
    def start(self, run: RunInfo) -> Recorder:
        """What takes the numbers and pictures of a run that begins; ``Recorder()`` where they are not wanted. It can be
        sent to another process, in which F1 may be trained."""

    @abstractmethod
    def finish(self, recorder: Any, results: Results) -> None:
        """Take what the run leaves, and close ``recorder``, which ``start`` made."""

    def abandon(self, recorder: Any) -> None:
        """Close ``recorder`` after a run that has failed: the next one of a sweep starts its own in the same
        process."""
        return None


class Guarded(Recorder):
    """A recorder that costs a run nothing where it fails: that is said once, and it gets no more numbers, or pictures,
    whichever it was."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name
        self.failed: set[str] = set()

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """Hand the numbers on."""
        self.attempt("numbers", lambda: self.recorder.log(section, item, step, values))

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """Let the picture be drawn."""
        self.attempt("pictures", lambda: self.recorder.show(name, draw, step))

    def attempt(self, kind: str, action: Callable[[], None]) -> None:
        """Do it unless something of its kind has failed before."""
        if kind in self.failed:
            return
        try:
            action()
        except Exception as error:
            self.failed.add(kind)
            log.warning("logger=%s takes no more %s while the run lasts (%s).", self.name, kind, first_line(error))


def list_numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a summary, those of nested entries under names such as ``metrics/ssim/auc``."""
    numbers: dict[str, float] = {}
    for key, value in summary.items():
        if isinstance(value, Mapping):
            numbers |= list_numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[f"{prefix}{key}"] = value
    return numbers
