"""MUCS's evaluation: AUC, p, mean change in percent, and the overlap of what queries are attributed to."""

from typing import Any

import numpy as np
import pytest

from tdattr.metrics.comparison import compare, overlap
from tests.parity.golden import golden


def evaluate(values: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """What the entries name."""
    one, two = compare(values, reference), compare(values, reference, two_tailed=True)
    return {
        "auc": one.auc,
        "mean change in percent": one.difference_percent,
        "half interval": one.ci95,
        "p, one-tailed": one.p_value,
        "p, two-tailed": two.p_value,
    }


def test_evaluation() -> None:
    entry = golden("mucs.evaluation")
    method, random = entry.inputs["method"], entry.inputs["random"]
    entry.check("21 values", evaluate(method, random))
    entry.check("21 values rounded to 2 decimals (ties)", evaluate(method.round(1), random.round(2)))


def test_a_median_below_zero() -> None:
    entry = golden("mucs.evaluation_quirks")
    method, random = entry.inputs["method"] - 0.8, entry.inputs["random"] - 0.8
    assert np.median(random) < 0
    entry.check("both minus 0.8 (median below zero)", evaluate(method, random))
    assert compare(method, random).small_median


def test_of_an_even_number_the_median_is_the_usual_one() -> None:
    """The reference takes the lower of the two middle values, so that its changes lie higher; all else is equal."""
    entry = golden("mucs.evaluation_quirks")
    output = "20 values (first 20 of each)"
    method, random = entry.inputs["method"][:20], entry.inputs["random"][:20]
    ours, theirs = evaluate(method, random), entry.outputs[output]
    lower, upper = np.sort(random)[9:11]
    ratio = lower / ((lower + upper) / 2)  # of their median to ours
    assert ratio < 1 - 1e-4
    assert ours["mean change in percent"] == pytest.approx(100 * (method.mean() / np.median(random) - 1))
    as_theirs = ours | {
        "mean change in percent": (ours["mean change in percent"] + 100) / ratio - 100,
        "half interval": ours["half interval"] / ratio,
    }
    entry.check(output, as_theirs)
    assert ours["mean change in percent"] < theirs["mean change in percent"] - 1e-3
    assert ours["half interval"] < theirs["half interval"] - 1e-3


def test_overlap() -> None:
    entry = golden("mucs.overlap")
    mean, interval = overlap(np.stack([entry.inputs[f"query {number}"] for number in range(6)]))
    entry.check("mean", mean)
    entry.check("half interval", interval)
