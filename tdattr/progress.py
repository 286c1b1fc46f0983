"""Progress bars for everything that lasts longer than two seconds."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakSet

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 30.0  # between two pictures of a bar in a file
OPEN: "WeakSet[tqdm[Any]]" = WeakSet()
T = TypeVar("T")
FORMAT = "{desc:<42} {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def track(items: Iterable[T], description: str, total: int, nested: bool = False) -> Iterator[T]:
    """Iterate with a progress bar on standard error; a nested one disappears when it is done."""
    bar = tqdm(items, desc=description, total=total, bar_format=FORMAT, leave=not nested, **pace(0.1))
    OPEN.add(bar)
    yield from bar


def close_bars() -> None:
    """End every bar where it stands: an exception has passed by it, and what is said next starts on a line of its
    own."""
    for bar in list(OPEN):
        bar.close()


def pace(terminal_seconds: float) -> dict[str, float]:
    """tqdm's settings of how often a bar is drawn: rarely in a file, such as the log of a SLURM job."""
    return (
        {"mininterval": terminal_seconds}
        if sys.stderr.isatty()
        else {"mininterval": LOG_INTERVAL_SECONDS, "maxinterval": LOG_INTERVAL_SECONDS}
    )


class Bar:
    """A progress bar that is advanced by hand; ``start`` units were done before."""

    def __init__(self, description: str, total: int, start: int = 0, hidden: bool = False) -> None:
        self.bar = tqdm(
            desc=description, total=total, initial=start, bar_format=FORMAT, disable=hidden, miniters=1,
            **pace(0.5),
        )  # fmt: skip
        OPEN.add(self.bar)

    def advance(self, amount: int = 1) -> None:
        """Count finished units."""
        self.bar.update(amount)

    def show(self, text: str) -> None:
        """A short text behind the bar."""
        self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """End the bar where it stands."""
        self.bar.close()
