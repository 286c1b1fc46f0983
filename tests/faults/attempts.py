"""One attempt of a command in a process of its own: it says what it does to the store, and may be ended on the way."""

import importlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdattr.integrity import PROVENANCE
from tdattr.stopwatch import SPENT

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove")  # the audit events of Python that are looked at
UNFINISHED = re.compile(r"\.(?P<address>[0-9a-f]{16}|sd_tiny)(\..*)?\.unfinished")  # the folder of what is being built
LIMIT_SECONDS = 600.0  # after which an attempt hangs
IDLE_SECONDS = 60.0  # for which processes may do nothing that have outlived the one that started them


class Broken(Exception):
    """What must not happen under any fault."""


@dataclass(frozen=True)
class Blow:
    """What ends an attempt: ``number`` is sent before the ``operation``-th file operation inside an ``artifact``, or so
    many seconds after that was begun; after the command was begun where no artifact is named. ``alone``: to the
    command's process instead of to all of its processes. ``unsealed``: before the artifact's provenance is written,
    when everything else is there."""

    artifact: str | None
    operation: int | None
    delay: float
    number: int = signal.SIGKILL
    alone: bool = False
    unsealed: bool = False

    def strike(self, leader: int) -> None:
        """Send it."""
        with suppress(ProcessLookupError):  # it may just have come to its end
            (os.kill if self.alone else os.killpg)(leader, self.number)


@dataclass
class Ended:
    """How an attempt ended, and what it said before."""

    status: int  # negative: ended by that signal
    struck: bool = False
    said: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""

    @property
    def inside(self) -> str | None:
        """The innermost artifact that was being built; None: none was."""
        building: list[str] = []
        for line in self.said:
            if line["what"] == "begin":
                building.append(line["name"])
            elif line["what"] == "finish":
                building.remove(line["name"])
        return building[-1] if building else None


class Watch:
    """An audit hook: it writes the beginning and the end of every artifact, and how far each of those came that can be
    resumed, into a pipe, and strikes at a file operation if it is to."""

    def __init__(self, store: Path, pipe: int, blow: Blow | None) -> None:
        self.store, self.pipe, self.blow = f"{store}{os.sep}", pipe, blow
        self.building: list[str] = []
        self.counts: Counter[str] = Counter()
        self.busy = False
        self.process = os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or self.busy or os.getpid() != self.process:
            return
        path = arguments[0]
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.store):
            self.busy = True  # what is opened here is none of the command's
            try:
                writes = event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
                self.see(event, Path(path), Path(arguments[1]) if event == "os.rename" else None, writes)
            finally:
                self.busy = False

    def see(self, event: str, path: Path, target: Path | None, writes: bool) -> None:
        """Called before the operation is carried out; ``writes``: whether a file is opened to be written."""
        inside = self.building[-1] if self.building else None
        name = name_artifact(path)
        if event == "os.mkdir" and name is not None:
            self.building.append(name)
            self.say(what="begin", name=name)
        if inside is not None:
            self.counts[inside] += 1
            if self.blow is not None and self.is_time(self.blow, inside, path if writes else None):
                self.say(what="struck")
                self.blow.strike(self.process)
        if target is None:
            return
        if name is not None and f"{target.parent.name}/{target.name}" == name:
            self.building.remove(name)
            self.say(what="finish", name=name, operations=self.counts[name])
        elif (done := read_mark(path, target.name)) is not None:
            self.say(what="mark", name=f"{name_artifact(target.parent)}/{target.name}", done=done)

    def is_time(self, blow: Blow, inside: str, written: Path | None) -> bool:
        """Whether to strike before this operation inside an artifact; ``written``: the file that it opens to write."""
        if blow.artifact != inside:
            return False
        if blow.unsealed:
            return written is not None and written.name == PROVENANCE and name_artifact(written.parent) == inside
        return blow.operation == self.counts[inside]

    def say(self, **line: Any) -> None:
        """A line for the one who watches."""
        os.write(self.pipe, (json.dumps(line | {"time": time.monotonic()}) + "\n").encode())


def name_artifact(path: Path) -> str | None:
    """The artifact that is being built in a folder; None for other folders."""
    unfinished = UNFINISHED.fullmatch(path.name)
    return None if unfinished is None else f"{path.parent.name}/{unfinished['address']}"


def read_mark(path: Path, name: str) -> int | None:
    """How far the work has come that a file says which is about to get this name; None for other files."""
    if name == SPENT:  # a time, and no work
        return None
    if name.endswith(".progress"):
        return int(json.loads(path.read_text())["done"])
    if name == "resume.ckpt":
        import torch

        content = torch.load(path, "cpu", weights_only=True)
        return int(content["global_step"] if "global_step" in content else content["steps"])
    return None


class Attempt:
    """A ``command``, a function of `tdattr.cli`, with those arguments and outputs, in a process that is forked from
    this one, which has imported what takes long; the leader of a group of its own. ``largest``: a limit to the size of
    files, in bytes."""

    def __init__(
        self,
        command: str,
        arguments: list[str],
        outputs: Path,
        log: Path,
        blow: Blow | None = None,
        largest: int | None = None,
    ) -> None:
        self.command, self.outputs, self.log, self.blow = command, outputs, log, blow
        self.pipe, theirs = os.pipe()
        sys.stdout.flush()
        self.began = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            self.run(arguments, theirs, largest)
        os.close(theirs)

    def run(self, arguments: list[str], pipe: int, largest: int | None) -> None:
        """In the new process: does not return."""
        status = 1
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a script
            sys.argv = ["tdattr", *arguments, f"paths.outputs={self.outputs}"]
            sys.addaudithook(Watch(self.outputs / "artifacts", pipe, self.blow))
            getattr(importlib.import_module("tdattr.cli"), self.command)()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)

    def wait(self) -> Ended:
        """Strike when it is time, and see how it ended. Raises Broken where it hangs or leaves processes behind."""
        blow = self.blow
        ended = Ended(0)
        strike_at = None
        if blow is not None and blow.artifact is None:
            strike_at = self.began + blow.delay
        rest = b""
        while True:
            now = time.monotonic()
            if strike_at is not None and now >= strike_at and blow is not None:
                ended.struck, strike_at = True, None
                blow.strike(self.process)
            if now - self.began > LIMIT_SECONDS:
                os.killpg(self.process, signal.SIGKILL)
                raise Broken(f"it has hung for {LIMIT_SECONDS:.0f} s: see {self.log}")
            patience = 1.0 if strike_at is None else min(1.0, strike_at - now)
            if not select.select([self.pipe], [], [], max(0.0, patience))[0]:
                continue
            received = os.read(self.pipe, 1 << 16)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in map(json.loads, lines):
                ended.struck = ended.struck or line["what"] == "struck"
                ended.said.append(line)
                begun = blow is not None and line["what"] == "begin" and line["name"] == blow.artifact
                if blow is not None and begun and blow.operation is None and not (blow.unsealed or ended.struck):
                    strike_at = time.monotonic() + blow.delay
        os.close(self.pipe)
        _, status = os.waitpid(self.process, 0)
        ended.status = os.waitstatus_to_exitcode(status)
        self.check_gone()
        ended.log = self.log.read_text(errors="replace")
        return ended

    def check_gone(self) -> None:
        """Raise Broken where other processes go on without the command's. A rank of a training that has just been
        started notices that it is gone once it has imported, which takes long on a busy machine."""
        seen: dict[int, str] = {}
        began = moved = time.monotonic()
        while left := members(self.process):
            now = time.monotonic()
            if left != seen:
                seen, moved = left, now
            if now - moved > IDLE_SECONDS or now - began > LIMIT_SECONDS:
                for process in left:
                    os.kill(process, signal.SIGKILL)
                raise Broken(f"{len(left)} of its processes have outlived it: see {self.log}")
            time.sleep(0.1)


def members(group: int) -> dict[int, str]:
    """The processes of a group that are alive, and the processor time that each has had."""
    command = ["ps", "-A", "-o", "pid=,pgid=,stat=,time="]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in table.splitlines())
    return {int(process): spent for process, of, state, spent in rows if int(of) == group and not state.startswith("Z")}
