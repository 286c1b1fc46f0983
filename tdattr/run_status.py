"""How a run is going, for whoever looks from outside: ``status.json`` in its folder.

It says what the run itself knows. A run that was killed cannot say so: that its process is gone, its reader finds out.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
STATUS = "status.json"
LOG = "run.log"  # in the same folder
OVERRIDES, HYDRA = ".hydra/overrides.yaml", ".hydra/hydra.yaml"  # in the same folder, what Hydra keeps of its command
CANCEL = "cancelled"  # a file in a run's folder: it is not to start
RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"
LOST = "lost"  # said by whoever has started the run's process, and seen it end without a word
WRITE_INTERVAL_SECONDS = 1.0  # between two writes
HEARTBEAT_SECONDS = 20.0  # a run that makes no step still says that it is there
PROCESSES = Path("/proc")  # of Linux
GONE = ("Z", "X")  # states of a process that has ended and that nobody has asked for yet


class Stage:
    """Something that lasts, as a run shows it: ``done`` of ``total`` units, which is None where nobody knows."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self.name, self.total = name, total
        self.start = self.done = done
        self.began = time.monotonic()

    def describe(self) -> dict[str, Any]:
        """For the status; the seconds that are left are None before the first unit is done."""
        left = None
        if self.total is not None and self.done > self.start:
            pace = (time.monotonic() - self.began) / (self.done - self.start)
            left = round(pace * max(0, self.total - self.done), 1)
        return {"stage": self.name, "done": self.done, "total": self.total, "seconds_left": left}


class Reporter:
    """Writes the status of a run from a thread of its own, so that the run waits for no disk."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.stages: list[Stage] = []  # that are open, each within the one before it
        self.process = os.getpid()
        self.started = now()
        self.facts = describe_process() | facts
        self.written: dict[str, Any] | None = None
        self.written_at = 0.0
        self.failed = False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.keep_writing, name="status", daemon=True)

    def keep_writing(self) -> None:
        """Until the run ends."""
        while not self.ended.wait(WRITE_INTERVAL_SECONDS):
            stages = self.describe_stages()
            if stages != self.written or time.monotonic() - self.written_at >= HEARTBEAT_SECONDS:
                self.write(RUNNING, stages)

    def describe_stages(self) -> dict[str, Any]:
        """The outermost stage that is open, and as its ``step`` the innermost one."""
        open_now = list(self.stages)
        outer = open_now[0].describe() if open_now else Stage("", 0, None).describe()
        return outer | {"step": open_now[-1].describe() if len(open_now) > 1 else None}

    def end(self, state: str, error: str | None) -> None:
        """The last write, which nothing follows."""
        self.ended.set()
        self.thread.join()
        self.write(state, self.describe_stages(), error)

    def write(self, state: str, stages: dict[str, Any], error: str | None = None) -> None:
        """Replace the file in one step. A disk that takes no more costs the run nothing but a warning."""
        content = {"state": state} | stages | {"started": self.started, "updated": now()} | self.facts
        self.written, self.written_at = stages, time.monotonic()
        try:
            write_status(self.folder, content | {"error": error})
        except OSError as problem:
            if not self.failed:
                log.warning("Warning: %s cannot be written (%s).", self.folder / STATUS, problem.strerror)
            self.failed = True


current: Reporter | None = None  # of the run that this process is in


@contextmanager
def report_run(folder: Path, describe: Callable[[Exception], str], log: str = LOG, **facts: Any) -> Iterator[None]:
    """Keep ``status.json`` in a run's folder while this lasts, and leave there how it has ended.

    ``describe`` puts an exception in one sentence; ``log``: where the run's words go; ``facts`` are noted as they are.
    A run inside another one reports for itself.
    """
    global current
    before = current
    reporter = current = Reporter(folder, {"log": log} | facts)
    reporter.write(RUNNING, reporter.describe_stages())
    reporter.thread.start()
    state, error = INTERRUPTED, None
    try:
        yield
        state = DONE
    except Exception as problem:
        state, error = FAILED, describe(problem)
        raise
    finally:
        current = before
        reporter.end(state, error)


def open_stage(name: str, done: int = 0, total: int | None = None) -> Stage | None:
    """A stage that the run is in until ``close_stage``; None where no run reports, as in a process that it forked."""
    if current is None or current.process != os.getpid():
        return None
    stage = Stage(name, done, total)
    current.stages.append(stage)
    return stage


def close_stage(stage: Stage | None) -> None:
    """The run has left it."""
    if current is not None and stage in current.stages:
        current.stages.remove(stage)


def describe_process() -> dict[str, Any]:
    """This process, as others can find it."""
    process = {"pid": os.getpid(), "process": identify_process(os.getpid()), "host": socket.gethostname()}
    return process | {"attempt": name_attempt()}


def name_attempt() -> str | None:
    """The job of SLURM that this process is in, and how often that was queued again; None outside of one."""
    job = os.environ.get("SLURM_JOB_ID")
    return None if job is None else f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def begin_status(folder: Path, log: str) -> None:
    """Say that this process is going to run a run, before it can say more. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    nothing = Stage("", 0, None).describe() | {"step": None}
    times = {"started": now(), "updated": now()}
    write_status(folder, {"state": RUNNING} | nothing | times | describe_process() | {"log": log, "error": None})


def end_status(folder: Path, state: str, error: str | None) -> None:
    """Say how a run has ended that could not say it itself. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_status(folder, (read_status(folder) or {}) | {"state": state, "error": error, "updated": now()})


def forget_status(folder: Path) -> None:
    """A run is going to start once more in this folder."""
    for name in (STATUS, CANCEL):
        (folder / name).unlink(missing_ok=True)


def write_status(folder: Path, content: dict[str, Any]) -> None:
    """Replace the status in one step; not forced on the disk, as it is about what happens now. Raises OSError."""
    aside = folder / f"{STATUS}.{os.getpid()}.new"
    try:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False), encoding="utf-8")
        os.replace(aside, folder / STATUS)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read_status(folder: Path) -> dict[str, Any] | None:
    """What a run says of itself; None where it has said nothing that can be read."""
    try:
        content = json.loads((folder / STATUS).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("state"), str) else None


def now() -> str:
    """The time as ISO 8601 writes it, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def identify_process(number: int) -> str | None:
    """What tells a running process from a later one of the same number: when it started, in ticks since the machine
    did. None where it is gone, or where the system has no ``/proc``."""
    try:
        content = (PROCESSES / str(number) / "stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = content.rpartition(")")[2].split()  # what stands before may hold anything: the program's name
    return None if state in GONE else fields[18]


def is_running(number: int, identity: str | None) -> bool:
    """Whether a process of this machine is still there; ``identity``: what ``identify_process`` said of it."""
    if (PROCESSES / "self").exists():
        found = identify_process(number)
        return found is not None and identity in (None, found)
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
