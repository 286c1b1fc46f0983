"""Locks: two jobs never hold one, on any file system, and nothing that is left behind blocks for ever."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, SoftFileLock

from tdattr import locks
from tdattr.locks import acquire, has_flock


@pytest.fixture(params=[None, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """File systems with and without locks; gives the kind of lock to expect."""
    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", refuse(request.param))
    has_flock.cache_clear()
    yield FileLock if request.param is None else SoftFileLock
    has_flock.cache_clear()


def refuse(number: int) -> Any:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def test_one_job_at_a_time(system: type, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = acquire(tmp_path / ".a", None)
    assert isinstance(first, system)
    assert acquire(tmp_path / ".a", None) is None
    other = acquire(tmp_path / ".b", None)
    assert other is not None
    first.release()
    again = acquire(tmp_path / ".a", lambda: "a")
    assert again is not None
    again.release()
    other.release()
    assert caplog.text.count("has no locks") == (system is SoftFileLock)


def test_files_of_either_kind_that_were_left_do_not_block(system: type, tmp_path: Path) -> None:
    """A store that was copied from another file system has empty files of locks that nobody holds."""
    (tmp_path / ".a.lock").touch()
    lock = acquire(tmp_path / ".a", None)
    assert lock is not None
    lock.release()


def hold_and_die(path: Path) -> None:
    fcntl.flock = refuse(errno.ENOLCK)
    lock = acquire(path, None)
    assert lock is not None
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_job_leaves_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path / ".a",))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL and (tmp_path / ".a.softlock").stat().st_size
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    has_flock.cache_clear()
    lock = acquire(tmp_path / ".a", lambda: "a")
    assert isinstance(lock, SoftFileLock)
    lock.release()
    has_flock.cache_clear()


def test_a_job_that_was_killed_before_it_wrote_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "EMPTY_SECONDS", 0.2)
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    has_flock.cache_clear()
    (tmp_path / ".a.softlock").touch()
    assert acquire(tmp_path / ".a", None) is None  # it may just be writing
    lock = acquire(tmp_path / ".a", lambda: "a")
    assert lock is not None and acquire(tmp_path / ".a", None) is None
    lock.release()
    has_flock.cache_clear()


def take_in_turn(path: Path, together: Any, numbers: Any) -> None:
    fcntl.flock = refuse(errno.ENOLCK)
    together.wait(300)
    lock = acquire(path, lambda: "a")
    assert lock is not None
    before = numbers.value
    time.sleep(0.3)
    numbers.value = before + 1
    lock.release()


def test_processes_wait_for_each_other_without_flock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together, numbers = context.Barrier(3), context.Value("i", 0, lock=False)
    processes = [context.Process(target=take_in_turn, args=(tmp_path / ".a", together, numbers)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0] and numbers.value == 3
