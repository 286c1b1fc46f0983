"""Leases: a lock for several jobs on one file system that needs neither ``flock`` nor a right clock.

A lease is a file that is made in one step. It names its holder, who counts in it (the beat) for as long as it lives. It
is taken over from a holder that is gone: at once from a process of this machine, and from any other one once its beat
has stood still for LEASE_SECONDS. These are added up from the waits of the process that wants it, so that neither a
clock that jumps nor a suspension of that process ends a lease.

A lease saves work twice done; it does not protect files. A holder that was suspended for longer does not know that it
has lost it, and network file systems show old content for a while: whoever builds under a lease writes into a folder of
its own and moves that into place in one step (see ``store.py``).
"""

import errno
import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

from tdattr.run_status import PROCESSES, Stage, close_stage, identify_process, open_stage

log = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
LEASE_SECONDS = 120.0  # a network file system may show what a file held a minute ago
PAUSES_SECONDS = (0.05, 1.0)  # between two looks at a lease: at first, and at most
UNSAID_SECONDS = 2.0  # of waiting for another job that are not worth a line
BEAT = "{:012}\n"  # at the start of the file, so that a beat writes over the last one
SUFFIX = ".lease"
VANISHED = (errno.ENOENT, errno.ESTALE)  # of a file that is deleted; the second while it is read, on NFS
numbers = count()  # of the leases of this process


def acquire(path: Path, describe: Callable[[], str] | None, expired: str | None = None) -> "Lease | None":
    """Take the lease of that name. Where another job holds it: None, or with ``describe``, which says what one waits
    for, as soon as that job gives it back or is gone. While it still holds what ``expired``, nobody holds it."""
    lease = Lease(name_lease(path))
    if lease.take(expired):
        return lease
    return None if describe is None else wait(lease, describe)


def name_lease(path: Path) -> Path:
    """The file of the lease of that name."""
    return path.with_name(f"{path.name}{SUFFIX}")


def read_lease(path: Path) -> str | None:
    """Something that changes while the lease of that name is held; None where it is not."""
    return read(name_lease(path))


def read(path: Path) -> str | None:
    """What the file of a lease holds, the beat first; None where nobody holds it."""
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        if error.errno not in VANISHED:
            raise
        return None


def wait(lease: "Lease", describe: Callable[[], str]) -> "Lease":
    """Take a lease that another job holds as soon as that is possible."""
    watch = Watch()
    watch.find_expired(lease.path)
    try:
        while True:
            watch.rest(describe)
            if lease.take(watch.find_expired(lease.path)):
                return lease
    finally:
        watch.end_wait()


class Watch:
    """For how long leases have stood still that one waits for, by the rests that one has taken meanwhile."""

    def __init__(self) -> None:
        self.rested, self.said = 0.0, False
        self.stage: Stage | None = None  # of the run, while it waits
        self.pause = PAUSES_SECONDS[0]
        self.seen: dict[Path, tuple[str | None, float]] = {}  # what a lease held, and after how much rest it did first

    def rest(self, describe: Callable[[], str]) -> None:
        """Sleep until it is time for another look; say what one waits for, once it takes long, and in the run's status
        until ``end_wait``."""
        time.sleep(self.pause)
        self.rested += self.pause
        self.pause = min(2 * self.pause, PAUSES_SECONDS[1])
        if self.rested < UNSAID_SECONDS:
            return
        if not self.said:
            log.info("Waiting for %s.", describe())
            self.said = True
        if self.stage is None:
            self.stage = open_stage(f"Waiting for {describe()}")

    def end_wait(self) -> None:
        """What one waited for is there, or is one's own to build."""
        close_stage(self.stage)
        self.stage = None

    def find_expired(self, path: Path) -> str | None:
        """What the file of a lease holds, where that has stood still for LEASE_SECONDS; else None."""
        content = read(path)
        before, since = self.seen.get(path, (None, 0.0))
        if content is None or content != before:
            self.seen[path] = content, self.rested
            return None
        return content if self.rested - since >= LEASE_SECONDS else None


class Lease:
    """A lease, held by this process from ``take`` to ``release``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = json.dumps({"owner": name_process(), "host": socket.gethostname(), "number": next(numbers)})
        self.ended = threading.Event()

    def take(self, expired: str | None = None) -> bool:
        """Whether it could be taken: nobody holds it, its holder is gone, or it still holds what ``expired``."""
        if self.create():
            return True
        content = read(self.path)
        if content is not None and content != expired and not is_gone(find_owner(content)):
            return False
        if content is not None and not self.remove(content):
            return False
        return self.create()

    def create(self) -> bool:
        """Make the file, if there is none, and start to count in it."""
        try:
            self.file = self.path.open("xb", buffering=0)
        except FileExistsError:
            return False
        try:
            self.file.write((BEAT.format(0) + self.name).encode())
            os.fsync(self.file.fileno())
            self.beating = threading.Thread(target=self.beat, daemon=True)
            self.beating.start()
        except BaseException:  # of a full disk, or a signal
            self.file.close()
            self.path.unlink(missing_ok=True)
            raise
        return True

    def beat(self) -> None:
        """Count until the lease is given back. It is not looked whether the file is still the one at ``path``: this one
        alone is written to."""
        for number in count(1):
            if self.ended.wait(BEAT_SECONDS):
                return
            try:
                os.pwrite(self.file.fileno(), BEAT.format(number).encode(), 0)
                os.fsync(self.file.fileno())
            except OSError as error:  # a full disk, or the file is gone: at worst another job does the same work
                log.debug("The lease %s could not be renewed (%s).", self.path, error)

    def remove(self, content: str) -> bool:
        """Remove the file of a holder that is gone, whose ``content`` it was; False where another job was faster."""
        aside = self.path.with_name(f"{self.path.name}.{name_process()}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return False
        if find_name(read(aside) or "") == find_name(content):
            aside.unlink(missing_ok=True)
            return True
        if self.path.exists():
            aside.unlink(missing_ok=True)
        else:
            os.rename(aside, self.path)
        return False

    def release(self) -> None:
        """Give it back; one that was lost meanwhile stays with its new holder."""
        self.ended.set()
        self.beating.join()
        self.file.close()
        if find_name(read(self.path) or "") == self.name:
            self.path.unlink(missing_ok=True)


def find_name(content: str) -> str:
    """What a lease's file holds besides the beat: who took it, as its how many-th; empty where that was not written."""
    return content.partition("\n")[2]


def find_owner(content: str) -> str:
    """The process that took a lease; empty where the file does not say it, of a job killed just as it made it."""
    try:
        return str(json.loads(find_name(content))["owner"])
    except (ValueError, KeyError, TypeError):
        return ""


# -- processes, across machines ---------------------------------------------------------------------------------------


def name_process() -> str:
    """``machine-pid-start``: names this process among all that there are and were on all machines."""
    pid = os.getpid()
    return f"{name_machine()}-{pid}-{find_start(pid)}"


def is_gone(owner: str) -> bool:
    """Whether the process of that name has ended, as far as this machine can tell: another process may have its number
    by now, and nothing is known of other machines."""
    machine, _, rest = owner.partition("-")
    pid, _, start = rest.partition("-")
    if machine != name_machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, of which /proc may show nothing
        return False
    return find_start(int(pid)) != start


@cache
def name_machine() -> str:
    """This machine since it was started, or this container on it: within one such name a process number is unique."""
    parts = [socket.gethostname()]
    if Path("/proc/self/ns/pid").exists():
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def find_start(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where there is none, or only what is left of
    one until its parent asks for it. A machine without /proc says the same of all."""
    return identify_process(pid) or ("" if PROCESSES.is_dir() else "0")
