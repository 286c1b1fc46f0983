"""UnlearnCanvas's measures on a handful of images, counted by hand."""

import numpy as np
import pytest

from tdattr.metrics.unlearning_accuracy import measure_unlearning


def test_what_the_benchmark_counts() -> None:
    forgotten = np.array([True, True, True, True, False, False, False, False, False])
    style = np.array([False, False, False, True, True, True, True, False, True])
    shown = np.array([True, True, False, False, True, True, True, True, True])
    found = measure_unlearning(forgotten, style, shown)
    assert found == pytest.approx({"ua": 3 / 4, "ira": 4 / 5, "cra": 7 / 9, "cra_forgotten": 2 / 4})
