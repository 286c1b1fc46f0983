"""Where an artifact is built: a folder beside its own, which belongs to one process and from which another resumes."""

import os
import shutil
from pathlib import Path

from tdattr.locks import is_gone, name_process

SUFFIX = ".unfinished"
COPY = ".copy"  # ends the name of what is being copied
HALF_WRITTEN = ("*.new", ".tmp*")  # our files aside (``files.name_aside``), and those of safetensors


def open_unfinished(folder: Path) -> Path:
    """This process's folder for what becomes ``folder``, with what an earlier attempt has left for it to resume from.

    That of a process that has ended is taken over. One whose process cannot be seen, or was only suspended, is copied:
    nothing that it may still write reaches the copy.
    """
    own = folder.with_name(f".{folder.name}.{name_process()}{SUFFIX}")
    if not own.exists():
        left = sorted(filter(holds_files, folder.parent.glob(f".{folder.name}*{SUFFIX}")), key=find_time)
        if left:
            adopt(left[-1], own)
    own.mkdir(exist_ok=True)
    for pattern in HALF_WRITTEN:  # by a process that was killed
        for path in filter(Path.is_file, own.rglob(pattern)):
            path.unlink()
    return own


def holds_files(path: Path) -> bool:
    """Whether there is anything in a folder to resume from: not where an attempt could not copy what it had found."""
    return any(inside.is_file() for inside in path.rglob("*"))


def find_time(path: Path) -> float:
    """When a folder was last changed, if it is still there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def adopt(left: Path, own: Path) -> None:
    """Make ``own`` of what another process has left; nothing, where that is taken away meanwhile. A folder without the
    name of a process is of an older version."""
    owner = left.name.removesuffix(SUFFIX).rpartition(".")[2] if left.name.count(".") > 2 else ""
    try:
        if not owner or is_gone(owner):
            os.rename(left, own)
            return
        copy = own.with_suffix(COPY)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(left, copy)
        os.rename(copy, own)
    except (FileNotFoundError, shutil.Error):
        pass


def clear_unfinished(folder: Path) -> None:
    """Delete what is left of other attempts once ``folder`` is there. A process that is still at it finds that out when
    it next writes, and takes what is there."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
