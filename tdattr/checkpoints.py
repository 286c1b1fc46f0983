"""Checkpoints of work that may be interrupted: written in one step, and checked before anything resumes from them."""

import logging
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tdattr.files import move_into_place, name_aside, writing
from tdattr.interim import RESUME
from tdattr.stopwatch import note_spent

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 60.0  # what an interruption costs at most; writing a large checkpoint takes about a second


class Checkpoint:
    """The checkpoint in a folder: its ``content``, where an earlier attempt has left one, and another one when the last
    is old."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RESUME
        left = find_checkpoint(folder)
        self.content: dict[str, Any] | None = None if left is None else torch.load(left, "cpu", weights_only=True)
        self.written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self.written >= INTERVAL_SECONDS

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Give parts, by name, the states in which the content has them."""
        assert self.content is not None
        for name, part in parts.items():
            part.load_state_dict(self.content[name])

    def write(self, content: Mapping[str, Any], parts: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Tensors and plain values, and the states of parts by name. Raises UserError where the disk is full."""
        save_checkpoint(dict(content) | {name: part.state_dict() for name, part in parts.items()}, self.path)
        note_spent(self.path.parent)
        self.written = time.monotonic()


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Raises UserError where the disk is full; the former checkpoint is then still there."""
    aside = name_aside(path)
    with writing(path.parent):
        try:
            with aside.open("wb") as file:
                torch.save(content, file)
        except (OSError, RuntimeError) as error:
            aside.unlink(missing_ok=True)
            if isinstance(error.__context__, OSError):  # what the file has said, which torch hides
                raise error.__context__ from None
            raise
        move_into_place(aside, path)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that an interrupted training has left in a folder; None where there is none, or none that is as it
    was written: such a one is moved aside, with a warning."""
    path = folder / RESUME
    if not path.exists():
        return None
    if is_intact(path):
        return path
    log.warning("%s is damaged and was moved to %s.damaged: the training starts over.", path, path.name)
    path.replace(f"{path}.damaged")
    return None


def is_intact(path: Path) -> bool:
    """Whether a file is a whole checkpoint, of tensors and plain values alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # compares every part with its checksum, which torch.load does not
                return False
        torch.load(path, "cpu", weights_only=True, mmap=True)
    except (MemoryError, PermissionError):
        raise
    except Exception:  # zipfile and torch raise all sorts of things for damaged files
        return False
    return True
