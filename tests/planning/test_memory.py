"""How much memory a step is said to take."""

from collections.abc import Callable

import pytest
import torch

from tdattr.planning.memory import peak, peak_of_batch


def test_a_step_holds_what_it_makes_at_a_time() -> None:
    def step(count: int) -> Callable[[], None]:
        def run() -> None:
            first = torch.ones(count, 1000)
            second = first + 1
            del first
            assert len(second.exp()) == count

        return run

    values = 1000 * 4
    assert peak(step(3), torch.device("cpu")) == pytest.approx(2 * 3 * values, rel=0.01)
    assert peak_of_batch(lambda: step, 50, torch.device("cpu")) == pytest.approx(2 * 50 * values, rel=0.01)
    assert peak_of_batch(lambda: step, 50, torch.device("mps")) is None
