"""UnlearnCanvas's measures on a handful of images, counted by hand."""

import numpy as np
import pytest

from tdattr.metrics.unlearning_accuracy import is_guessing, measure_unlearning


def test_what_the_benchmark_counts() -> None:
    forgotten = np.array([True, True, True, True, False, False, False, False, False])
    style = np.array([False, False, False, True, True, True, True, False, True])
    shown = np.array([True, True, False, False, True, True, True, True, True])
    found = measure_unlearning(forgotten, {"style": style, "object": shown})
    assert found == pytest.approx({"ua": 3 / 4, "ira": 4 / 5, "cra": 7 / 9, "cra_forgotten": 2 / 4})
    assert measure_unlearning(forgotten, {"style": style}) == pytest.approx({"ua": 3 / 4, "ira": 4 / 5})


@pytest.mark.parametrize(
    ("accuracy", "guess", "guessing"),
    [(0.5, 0.5, True), (0.6, 0.5, True), (0.7, 0.5, False), (0.3, 0.1, True), (0.4, 0.1, False)],
)
def test_who_hardly_does_better_than_naming_the_commonest_group_guesses(
    accuracy: float, guess: float, guessing: bool
) -> None:
    assert is_guessing(accuracy, guess) == guessing
