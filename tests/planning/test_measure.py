"""How long a step takes is measured on a device that is warm, and on as large a batch as runs will have."""

from collections.abc import Callable

import pytest

from tdattr.planning.measure import LIMIT_SECONDS, Measured


def measure(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], batch: int) -> tuple[float, list[int]]:
    """What is measured of steps that take so long, the first of all six seconds more; and their sizes."""
    sizes: list[int] = []

    def clock(self: Measured, step: Callable[[], int]) -> float:
        sizes.append(step())
        return seconds(sizes[-1]) + 6.0 * (len(sizes) == 1)

    monkeypatch.setattr(Measured, "clock", clock)
    measured = object.__new__(Measured)  # no run is asked for anything
    return measured.time(lambda count: lambda: count, batch), sizes


def test_a_first_call_that_takes_long_neither_counts_nor_shrinks_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where up to a size one step takes as long as another."""
    seconds, sizes = measure(monkeypatch, lambda count: max(0.05, count / 10_000), batch=4000)
    assert sizes[-1] == 4000
    assert seconds == pytest.approx(1 / 10_000)


def test_a_step_takes_no_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, sizes = measure(monkeypatch, lambda count: count * 0.1, batch=4000)
    assert max(sizes) * 0.1 <= LIMIT_SECONDS
    assert seconds == pytest.approx(0.1)
