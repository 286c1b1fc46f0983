"""A lock for several jobs on one file system, also where that has no locks of its own."""

import errno
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # what flock says where there is none
UNSAID_SECONDS = 2.0  # of waiting for another job that are not worth a line
EMPTY_SECONDS = 5.0  # a job writes its name into the file that it has made as a lock much faster


def acquire(path: Path, describe: Callable[[], str] | None) -> BaseFileLock | None:
    """Take the lock of that name. Where another job holds it: None, or with ``describe``, which says what one waits
    for, as soon as that job gives it back."""
    lock = make_lock(path)
    try:
        lock.acquire(timeout=0 if describe is None else UNSAID_SECONDS)
        return lock
    except Timeout:
        if describe is None:
            return None
    soft = isinstance(lock, SoftFileLock)
    log.info("Waiting for %s%s.", describe(), f" and holds {lock.lock_file}" if soft else "")
    while True:
        before = stamp_empty(Path(lock.lock_file)) if soft else None
        try:
            lock.acquire(timeout=EMPTY_SECONDS if soft else -1)
            return lock
        except Timeout:
            if before is not None and stamp_empty(Path(lock.lock_file)) == before:
                Path(lock.lock_file).unlink(missing_ok=True)  # of a job that was killed before it wrote its name


def make_lock(path: Path) -> BaseFileLock:
    """The kind of lock that the file system can give. The two have names of their own: ``flock`` leaves its file
    behind, but of the other kind a file that is there is held."""
    return FileLock(f"{path}.lock") if has_flock(path.parent) else SoftFileLock(f"{path}.softlock")


@cache
def has_flock(folder: Path) -> bool:
    """Whether the file system of a folder has locks that end with the process that holds them; a warning if not."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning(
                "The file system of %s has no locks (%s): files stand for them, and one that a job on another machine "
                "leaves when it is killed (.*.softlock) has to be deleted by hand.",
                folder,
                os.strerror(error.errno),
            )
            return False
    return True


def stamp_empty(path: Path) -> tuple[int, int] | None:
    """What identifies an empty file; None for one that is not empty, or not there."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return None if facts.st_size else (facts.st_ino, facts.st_ctime_ns)
