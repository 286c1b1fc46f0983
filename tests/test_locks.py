"""Leases: two jobs never hold one at a time, on any file system, and nothing that is left behind blocks for ever."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from tdattr import locks
from tdattr.locks import BEAT, Lease, acquire, find_owner, is_gone, name_machine, name_process, read

ELSEWHERE = '{"owner": "0000beef-12-34", "host": "elsewhere", "number": 0}'


def nothing(*_: Any) -> None:
    """A ``flock`` that lets everybody in."""


def refuse(*_: Any) -> None:
    """A ``flock`` of a file system that has none."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_one_job_at_a_time(tmp_path: Path) -> None:
    first = acquire(tmp_path / ".a", None)
    assert first is not None
    assert acquire(tmp_path / ".a", None) is None
    other = acquire(tmp_path / ".b", None)
    assert other is not None
    first.release()
    again = acquire(tmp_path / ".a", lambda: "a")
    assert again is not None
    again.release()
    other.release()
    assert not list(tmp_path.iterdir())


def test_a_holder_counts_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    while int((read(lease.path) or "").partition("\n")[0]) < 3:
        time.sleep(0.01)
    assert find_owner(read(lease.path) or "") == name_process()
    lease.release()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[int], Path]:
    """``elsewhere(beat)``: the lease of a process that cannot be seen from here stands at that beat."""
    path = tmp_path / ".a.lease"

    def write(beat: int) -> Path:
        path.write_text(BEAT.format(beat) + ELSEWHERE)
        return path

    return write


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait was to be, in a world without clocks in which no wait takes time."""
    waits: list[float] = []
    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=waits.append))
    return waits


def test_a_lease_from_elsewhere_ends_once_its_beat_stands_still(
    elsewhere: Callable[[int], Path], waits: list[float], tmp_path: Path
) -> None:
    elsewhere(7)
    assert acquire(tmp_path / ".a", None) is None
    lease = acquire(tmp_path / ".a", lambda: "a")
    assert lease is not None and sum(waits) >= locks.LEASE_SECONDS
    assert max(waits) <= 1.0  # so many looks that a suspension of this process between two of them ends no lease
    lease.release()
    assert not list(tmp_path.iterdir())


def test_a_lease_from_elsewhere_holds_while_it_beats(
    elsewhere: Callable[[int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten times as long as the lease, and until it is given back."""
    caplog.set_level("INFO")
    path = elsewhere(0)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) > 10 * locks.LEASE_SECONDS:
            path.unlink(missing_ok=True)
        elif len(waits) % 100 == 0:
            elsewhere(len(waits))

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=sleep))
    lease = acquire(tmp_path / ".a", lambda: "what takes long")
    assert lease is not None and sum(waits) > 10 * locks.LEASE_SECONDS
    lease.release()
    assert caplog.messages == ["Waiting for what takes long."]


def test_a_lease_that_was_not_even_written_ends_too(tmp_path: Path, waits: list[float]) -> None:
    """Of a job that was killed between making the file and writing its name into it."""
    (tmp_path / ".a.lease").touch()
    assert acquire(tmp_path / ".a", None) is None  # it may just be writing
    lease = acquire(tmp_path / ".a", lambda: "a")
    assert lease is not None and acquire(tmp_path / ".a", None) is None
    lease.release()


def test_another_process_may_have_the_number_by_now(tmp_path: Path) -> None:
    name = f'{{"owner": "{name_machine()}-{os.getpid()}-1", "host": "here", "number": 0}}'
    (tmp_path / ".a.lease").write_text(BEAT.format(0) + name)
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    lease.release()


def test_a_process_is_gone_once_it_is_dead_not_once_its_parent_has_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        name = f"{name_machine()}-{child.pid}-{locks.find_start(child.pid)}"
        assert not is_gone(name)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still in the table of processes
        assert is_gone(name)
    assert is_gone(name) and not is_gone(name_process()) and not is_gone("")


def test_a_lease_that_was_lost_is_not_given_back(elsewhere: Callable[[int], Path], tmp_path: Path) -> None:
    """A holder that was suspended wakes up: what it counts and gives back is no more its successor's."""
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    lease.path.unlink()
    path = elsewhere(3)
    lease.release()
    assert path.read_text() == BEAT.format(3) + ELSEWHERE


def test_what_another_has_just_taken_over_is_put_back(elsewhere: Callable[[int], Path], tmp_path: Path) -> None:
    path = elsewhere(3)
    assert not Lease(path).remove(BEAT.format(3) + ELSEWHERE.replace("0000beef", "0000dead"))
    assert path.read_text() == BEAT.format(3) + ELSEWHERE and list(tmp_path.iterdir()) == [path]


def test_a_lease_that_is_deleted_while_it_is_read_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS says so in its own way."""

    def stale(*_: Any, **__: Any) -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "read_text", stale)
    assert read(tmp_path / ".a.lease") is None


def test_a_lease_that_cannot_be_written_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            acquire(tmp_path / ".a", None)
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    lease.release()


def hold_and_die(path: Path) -> None:
    lease = acquire(path, None)
    assert lease is not None
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_job_leaves_is_taken_over_at_once(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path / ".a",))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL and (tmp_path / ".a.lease").stat().st_size
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    lease.release()


def take_in_turn(path: Path, flock: Any, together: Any, numbers: Any) -> None:
    fcntl.flock = flock
    together.wait(300)
    lease = acquire(path, lambda: "a")
    assert lease is not None
    before = numbers.value
    time.sleep(0.3)
    numbers.value = before + 1
    lease.release()


@pytest.mark.slow  # three processes
@pytest.mark.parametrize(("flock", "left"), [(nothing, True), (refuse, False)])
def test_processes_wait_for_each_other_without_flock(tmp_path: Path, flock: Callable[..., None], left: bool) -> None:
    """Also where all of them find the lease of a process that is gone."""
    if left:
        gone = ELSEWHERE.replace("0000beef-12", f"{name_machine()}-{os.getpid()}")
        (tmp_path / ".a.lease").write_text(BEAT.format(0) + gone)
    context = multiprocessing.get_context("spawn")
    together, numbers = context.Barrier(3), context.Value("i", 0, lock=False)
    arguments = (tmp_path / ".a", flock, together, numbers)
    processes = [context.Process(target=take_in_turn, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0] and numbers.value == 3
    assert not list(tmp_path.iterdir())


def test_threads_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    lease = acquire(tmp_path / ".a", None)
    assert lease is not None
    taken: list[Lease | None] = []
    thread = Thread(target=lambda: taken.append(acquire(tmp_path / ".a", lambda: "a")))
    thread.start()
    time.sleep(0.2)
    assert not taken
    lease.release()
    thread.join(300)
    assert taken[0] is not None
    taken[0].release()
