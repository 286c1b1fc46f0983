"""The checkpoint that a training leaves for the case that it is interrupted."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from tdattr.files import move_into_place, name_aside, writing
from tdattr.interim import RESUME

log = logging.getLogger(__name__)


class CheckpointBeside(TorchCheckpointIO):
    """Writes a checkpoint beside its target and moves it there in one step. Lightning's own way goes through the
    system's temporary folder, which is often small, and on another disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Raises UserError where the disk is full; the former checkpoint is then still there."""
        target = Path(path)
        aside = name_aside(target)
        with writing(target.parent):
            try:
                with aside.open("wb") as file:
                    torch.save(checkpoint, file)
            except (OSError, RuntimeError) as error:
                aside.unlink(missing_ok=True)
                if isinstance(error.__context__, OSError):  # what the file has said, which torch hides
                    raise error.__context__ from None
                raise
            move_into_place(aside, target)


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
