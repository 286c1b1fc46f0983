"""The verdict on scores of several dampings: that on the best of them, and a measure of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tdattr.protocols import Verdict
from tdattr.scores import DAMPING_UNIT


def judge_best(
    dampings: Sequence[float], measure: str, found: Sequence[Mapping[str, Any]], judge: Callable[[int], Verdict]
) -> Verdict:
    """The verdict that ``judge`` gives on the damping of that index whose ``mean`` is the highest, the first of equal
    ones. ``found``: the mean of a measure and its interval for each of the ``dampings``, which its summary and lines
    list. The last line of the verdict is told as the best one's."""
    grid = [{"damping": damping, **each} for damping, each in zip(dampings, found, strict=True)]
    best = int(np.argmax([row["mean"] for row in grid]))
    verdict = judge(best)
    *before, last = verdict.lines
    lines = [
        f"dampings in the {DAMPING_UNIT}",
        *(f"damping {row['damping']:g}: {measure} {row['mean']:+.3f}" for row in grid),
        *before,
        f"best damping {dampings[best]:g}: {last}",
    ]
    chosen = {"grid": grid, "damping": dampings[best], "damping_unit": DAMPING_UNIT}
    return replace(verdict, summary=verdict.summary | chosen, lines=lines)
