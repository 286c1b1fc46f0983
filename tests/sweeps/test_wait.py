"""A sweep on the terminal that has started it, and in a file."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tdattr.sweeps import wait as waiting
from tdattr.sweeps.record import Sweep, read_sweep
from tdattr.sweeps.states import read_states
from tdattr.sweeps.wait import Lines, wait
from tests.sweeps.sweep import make_sweep, say, wait_for

ROWS, COLUMNS = 12, 70
WAIT = """
import sys
from pathlib import Path
from tdattr.sweeps.record import read_sweep
from tdattr.sweeps.wait import wait
sweep = read_sweep(Path(sys.argv[1]))
print(sorted(wait(sweep, [job.number for job in sweep.jobs]).items()), file=open(sys.argv[2], "w"))
"""
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
REDRAW = "\x1b[2K"  # a line of the picture before is wiped


class Terminal:
    """What a program has written to a terminal so far."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.text = descriptor, ""
        os.set_blocking(descriptor, False)

    def read(self) -> str:
        try:
            while part := os.read(self.descriptor, 1 << 16):
                self.text += part.decode()
        except OSError:  # nothing more now, or the program has ended
            pass
        return self.text

    def pictures(self) -> list[list[str]]:
        """The lines of every picture that was drawn, without colours."""
        parts = re.split(rf"(?:\r?{re.escape(REDRAW)}(?:\x1b\[1A)?)+", self.read())
        return [[line for line in CODES.sub("", part).split("\n") if line] for part in parts if CODES.sub("", part)]


@contextmanager
def terminal(sweep: Sweep, result: Path) -> Iterator[Terminal]:
    """A terminal on which a process waits for a sweep; it must end by itself."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-c", WAIT, str(sweep.folder), str(result)]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment | {"TERM": "xterm"})
    os.close(its)
    try:
        yield Terminal(ours)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_terminal_shows_every_job_in_place(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", 3, process=os.getpid())
    say(sweep, 0, "running", os.getpid(), stage="Training F1", done=3, total=12, seconds_left=600.0)
    with terminal(sweep, tmp_path / "result") as screen:
        wait_for(lambda: "25 %" in screen.read())
        say(sweep, 0, "done")
        say(sweep, 1, "failed", error="Training F1: the loss is nan at step 3, which is a sentence; lower the rate.")
        wait_for(lambda: "FAILED" in screen.read())
        say(sweep, 2, "done")
        wait_for(lambda: (tmp_path / "result").exists())
        first, last = screen.pictures()[0], screen.pictures()[-1]
    assert re.fullmatch(r"#0    RUNNING      seed=0  Training F1 25 %, \d+:\d\d left", first[0])
    assert first[1:] == ["#1    WAITING      seed=1", "#2    WAITING      seed=2", "1 running, 2 waiting"]
    assert last[0].startswith("#0    DONE         seed=0") and last[1].startswith("#1    FAILED       seed=1")
    assert last[3:] == ["1 failed, 2 done"]
    assert last[1].endswith("…") and max(map(len, [*first, *last])) <= COLUMNS
    assert (tmp_path / "result").read_text().startswith("[(1, 'Training F1: the loss is nan at step 3")


def test_a_thousand_jobs_leave_the_terminal_usable(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", 1000, process=os.getpid())
    for number in range(1000):
        say(sweep, number, "running" if number % 100 == 7 else "done", os.getpid(), stage="Training F1")
    say(sweep, 500, "failed", error="why")
    with terminal(sweep, tmp_path / "result") as screen:
        wait_for(lambda: "10 running" in screen.read())
        (picture, *_) = screen.pictures()
        for number in range(7, 1000, 100):
            say(sweep, number, "done")
    assert len(picture) <= ROWS - 1
    assert [line.split()[0] for line in picture[:-2]] == [f"#{n}" for n in (7, 107, 207, 307, 407, 500, 507, 607, 707)]
    assert picture[-2:] == ["and 2 running, 989 done", "10 running, 1 failed, 989 done"]


def test_a_file_gets_a_line_for_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])
    sweep = make_sweep(tmp_path, 3, process=os.getpid())
    stream = io.StringIO()
    with Lines(stream) as lines:
        lines.show(read_states(sweep))
        say(sweep, 0, "running", os.getpid(), stage="Training F1", done=6, total=12)
        for seconds in (1, 2, 31, 32):
            clock[0] = seconds
            lines.show(read_states(sweep))
        say(sweep, 0, "failed", error="why")
        lines.show(read_states(sweep))
    assert stream.getvalue().splitlines() == [
        "#0    RUNNING      seed=0  Training F1 50 %",
        "After 0:31: 1 running, 2 waiting",
        "  #0    RUNNING      seed=0  Training F1 50 %",
        "#0    FAILED       seed=0  why",
    ]


def test_what_has_not_become_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SHORTEST_SECONDS", 0.01)
    sweep = make_sweep(tmp_path, 4, process=2**22 + 1)
    say(sweep, 0, "done")
    say(sweep, 1, "lost", error="it was ended by SIGKILL: the same command resumes it.")
    say(sweep, 2, "interrupted")
    (sweep.folder / "3").mkdir()
    (sweep.folder / "3" / "cancelled").touch()
    assert wait(read_sweep(tmp_path), range(4)) == {
        1: "it is lost: it was ended by SIGKILL: the same command resumes it.",
        2: "it is interrupted: the same command resumes it.",
    }
