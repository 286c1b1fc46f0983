"""The seconds that a build has come to, kept beside what it leaves to resume from: those of a resumed build are the sum
of its attempts, each up to its last checkpoint, as what came after that is done again."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tdattr.files import name_aside, writing
from tdattr.interim import MARK

SPENT = f"seconds{MARK}"
running: dict[Path, Callable[[], float]] = {}  # what tells the seconds of each build of this process, by its folder


@contextmanager
def timed(folder: Path, elapsed: Callable[[], float]) -> Iterator[Callable[[], float]]:
    """While this lasts, what is built in a folder is timed; ``elapsed``: the seconds of this attempt. Gives what tells
    those of all attempts."""
    earlier = read_spent(folder)
    running[folder] = lambda: earlier + elapsed()
    try:
        yield running[folder]
    finally:
        del running[folder]


def find_beginning(folder: Path) -> float | None:
    """When a build would have begun that was never interrupted, by ``time.perf_counter``, which all processes of a
    machine share; None where nothing is timed."""
    return time.perf_counter() - running[folder]() if folder in running else None


def note_spent(folder: Path, beginning: float | None = None) -> None:
    """Keep the seconds so far; ``beginning``, of `find_beginning`, where another process may have begun. Raises
    UserError where the disk is full."""
    beginning = find_beginning(folder) if beginning is None else beginning
    if beginning is None:
        return
    path = folder / SPENT
    with writing(folder):
        name_aside(path).write_text(json.dumps(time.perf_counter() - beginning, allow_nan=False))
        os.replace(name_aside(path), path)


def read_spent(folder: Path) -> float:
    """The seconds that earlier attempts have come to: 0 where there were none, or nobody can tell any more."""
    try:
        return float(json.loads((folder / SPENT).read_text()))
    except (OSError, ValueError, TypeError):
        return 0.0
