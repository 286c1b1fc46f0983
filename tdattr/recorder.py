"""What is measured while a run goes on, and where that is sent: nowhere, unless a logger takes it."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]
Curve = Callable[[int, Mapping[str, float]], None]  # takes the numbers of a step, by name


class Recorder:
    """Keeps nothing. Loggers derive from it; results never depend on what it does."""

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one step, by name.

        ``section``: what is going on (``train``, ``retrain``, ``unlearn``, ``query``). ``item``: which of several such
        things (``query 3``); empty where there is one alone. ``step`` counts within the item.
        """

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """Take the picture that ``draw`` makes of what there is after so many steps."""

    def curve(self, section: str, item: str = "") -> Curve:
        """``log`` of one item."""
        return partial(self.log, section, item)


def keep_nothing(step: int, values: Mapping[str, float]) -> None:
    """The curve of what nobody looks at."""


def has_two_digits(step: int) -> bool:
    """Whether a step has at most two significant digits: all up to 100, every tenth up to 1 000, and so on. So many are
    recorded of something whose length is not known beforehand."""
    return step % 10 ** max(0, len(str(step)) - 2) == 0
