"""Progress of everything that lasts longer than two seconds: a bar on a terminal, a line now and then in a file."""

import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

from tqdm import tqdm

from tdattr.run_status import Stage, close_stage, open_stage

BAR_INTERVAL_SECONDS = 0.1  # between two pictures of a bar
LOG_INTERVAL_SECONDS = 30.0  # between two lines in a file, such as the log of a SLURM job
WIDE_COLUMNS = 110  # more a bar does not fill; narrower terminals get shorter descriptions
TIMES = "[{elapsed}<{remaining}{postfix}]"
OPEN: "WeakSet[tqdm[Any]]" = WeakSet()  # bars on the terminal
T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int, nested: bool = False) -> Iterator[T]:
    """Iterate with progress on standard error; that of a nested one leaves nothing behind when it is done."""
    bar = Bar(description, total, nested=nested)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()


def close_bars() -> None:
    """End every bar where it stands: an exception has passed by it, and what is said next starts on a line of its
    own."""
    for bar in list(OPEN):
        bar.close()


class Bar:
    """Progress that is advanced by hand; ``start`` units were done before. A ``nested`` one leaves nothing behind.

    ``all_hidden``: of a process that works beside the one that shows how far the work is.
    """

    all_hidden: ClassVar[bool] = False

    def __init__(
        self, description: str, total: int, start: int = 0, hidden: bool = False, nested: bool = False
    ) -> None:
        description = "".join(letter if letter.isprintable() else "?" for letter in description)  # names of groups
        self.bar: tqdm[None] | Lines | None = None
        self.stage: Stage | None = None
        if not hidden and not self.all_hidden:
            self.stage = open_stage(description, start, total)
            make = draw if sys.stderr.isatty() else Lines
            self.bar = make(description, total, start, nested)

    def advance(self, amount: int = 1) -> None:
        """Count finished units."""
        if self.stage is not None:
            self.stage.done += amount
        if self.bar is not None:
            self.bar.update(amount)

    def show(self, text: str) -> None:
        """A short text behind the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """End the bar where it stands."""
        close_stage(self.stage)
        if self.bar is not None:
            self.bar.close()


def draw(description: str, total: int, start: int, nested: bool) -> "tqdm[None]":
    """A bar on a terminal. A line that is longer than the terminal is wide would be repeated instead of replaced."""
    columns = min(WIDE_COLUMNS, shutil.get_terminal_size().columns)
    room = 42 if columns == WIDE_COLUMNS else 28
    shortened = description if len(description) <= room else f"{description[: room - 1]}…"
    bar: tqdm[None] = tqdm(
        desc=shortened,
        total=total,
        initial=start,
        bar_format=f"{{desc:<{room}}} {{percentage:3.0f}}% |{{bar}}| {{n_fmt}}/{{total_fmt}} {TIMES}",
        ncols=columns,
        leave=not nested,
        miniters=1,
        mininterval=BAR_INTERVAL_SECONDS,
    )
    OPEN.add(bar)
    return bar


class Lines:
    """What stands for a bar in a file: a line when some time has passed, and one at the end unless it is ``nested``."""

    def __init__(self, description: str, total: int, start: int, nested: bool) -> None:
        self.description, self.total, self.nested = description, total, nested
        self.start = self.count = start
        self.began = self.written = time.monotonic()
        self.postfix = ""

    def update(self, amount: int) -> None:
        """Count, and write a line if the last one is old."""
        self.count += amount
        now = time.monotonic()
        if self.count < self.total and now - self.written >= LOG_INTERVAL_SECONDS:
            self.written = now
            left = (now - self.began) / max(1, self.count - self.start) * (self.total - self.count)
            self.write(
                f"({self.count / self.total:.0%}) after {duration(now - self.began)}, about {duration(left)} left"
            )

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        """A short text at the end of the lines that follow; never written at once."""
        self.postfix = f", {text}"

    def close(self) -> None:
        """Say how far it has come."""
        if not self.nested:
            self.write(f"in {duration(time.monotonic() - self.began)}")

    def write(self, text: str) -> None:
        """A line of its own."""
        print(f"{self.description}: {self.count} of {self.total} {text}{self.postfix}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Log lines on a terminal, above the bars that are on it instead of behind them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the bars away, write the line, and put the bars back."""
        try:
            tqdm.write(self.format(record), file=self.stream)
            self.flush()
        except Exception:  # as every handler of Python: a line that cannot be written ends no run
            self.handleError(record)
