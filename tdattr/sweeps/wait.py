"""A sweep on the terminal that has started it: a line for each job, drawn in place; in a file a line a change."""

import sys
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tdattr.progress import LOG_INTERVAL_SECONDS, duration
from tdattr.sweeps.lines import Line, choose, count, left_out, tell
from tdattr.sweeps.record import SLURM, Sweep
from tdattr.sweeps.states import FAILURES, SweepState, explain, read_states

SHORTEST_SECONDS = 0.5  # between two looks; the longer it takes, the fewer
LONGEST_SECONDS = {SLURM: 15.0}  # SLURM is not to be asked often
OTHERS_LONGEST_SECONDS = 1.0
PATIENCE = 0.05  # of the time that has passed
MOST_RUNNING = 10  # jobs of which a file hears now and then how far they are
RESERVED_LINES = 3  # of a terminal, for the numbers of all jobs and for where the shell's next line goes
STYLES = {"RUNNING": "bold", "DONE": "green", "FAILED": "bold red", "LOST": "bold red"}


def wait(sweep: Sweep, numbers: Collection[int]) -> dict[int, str]:
    """Show how those jobs are until all of them have ended. Gives why those that are not done are not, by number; what
    was cancelled was not wanted any more."""
    view = Picture(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)
    longest, began = LONGEST_SECONDS.get(sweep.launcher, OTHERS_LONGEST_SECONDS), time.monotonic()
    only = replace(sweep, jobs=[job for job in sweep.jobs if job.number in numbers])
    ended = False
    with view:
        while True:
            state = read_states(only)
            view.show(state)
            if state.ended and state.unknown is None and ended:
                return {job.job.number: explain(job) for job in state.jobs if job.state in FAILURES}
            ended = state.ended  # look once more: what has just gone may have more to say, or be queued again
            time.sleep(min(longest, max(SHORTEST_SECONDS, PATIENCE * (time.monotonic() - began))))


class Picture:
    """What a terminal shows, ``stream``: as high as it need be, and no higher than the terminal."""

    def __init__(self, stream: Any) -> None:
        self.console = Console(file=stream)
        self.live = Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> "Picture":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, state: SweepState) -> None:
        """Draw the jobs."""
        lines = tell(state)
        shown = choose(lines, max(1, self.console.height - RESERVED_LINES))
        texts = [draw(line) for line in shown]
        if rest := left_out(lines, shown):
            texts.append(Text(rest, style="dim", no_wrap=True, overflow="ellipsis"))
        texts.append(Text(summarise(state), no_wrap=True, overflow="ellipsis"))
        self.live.update(Group(*texts), refresh=True)


def draw(line: Line) -> Text:
    """A line that is cut where the terminal ends."""
    text = Text(str(line), no_wrap=True, overflow="ellipsis")
    text.highlight_regex(rf"(?<=^#.{{5}}){line.state}", STYLES.get(line.state, ""))
    return text


def summarise(state: SweepState) -> str:
    """The numbers of all jobs."""
    return count(state) + (f"; SLURM does not answer: {state.unknown}" if state.unknown else "")


class Lines:
    """What stands for the picture in a file, ``stream``: a line where a job starts or ends; sometimes all numbers."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.known: dict[int, str] = {}
        self.began = self.written = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, state: SweepState) -> None:
        """Write what has changed."""
        lines = tell(state)
        for line in lines:
            before = self.known.get(line.number, "WAITING")
            if line.state != before:
                self.write(str(line))
            self.known[line.number] = line.state
        now = time.monotonic()
        if now - self.written >= LOG_INTERVAL_SECONDS and not state.ended:
            self.written = now
            self.write(f"After {duration(now - self.began)}: {summarise(state)}")
            for line in [line for line in lines if line.state == "RUNNING"][:MOST_RUNNING]:
                self.write(f"  {line}")

    def write(self, text: str) -> None:
        """A line of its own, there at once."""
        print(text, file=self.stream, flush=True)
