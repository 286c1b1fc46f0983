"""Paired tests between methods on the same queries."""

import itertools

import numpy as np
import pytest

from tests.report.outputs import Outputs, made, shown


def flip(differences: np.ndarray) -> float:
    """The share of all sign flips whose mean lies no nearer to zero."""
    means = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    return float(np.mean([mean >= abs(differences.sum()) - 1e-9 for mean in means]))


def test_every_method_is_tested_against_every_other_on_the_same_queries(outputs: Outputs) -> None:
    tables = {
        (method, seed): outputs.run(method, seed, shift)
        for method, shift in (("random", 0.0), ("pixel", 0.1), ("mucs", 0.3))
        for seed in (1, 2)
    }
    sheet = made(outputs)["paired"]
    assert sheet.columns == ["method", "mean ssim", "random", "pixel", "mucs"]
    rows = {str(row["method"]): row for row in sheet.rows}
    values = {
        method: np.concatenate([t[t.role == "attributed"].ssim for t in (tables[method, 1], tables[method, 2])])
        for method in rows
    }
    for first, second in itertools.permutations(rows, 2):
        expected = flip(values[first] - values[second])
        assert rows[first][second].value == pytest.approx(expected)
    assert str(rows["mucs"]["mucs"]) == "–"
    assert rows["mucs"]["mean ssim"].value == pytest.approx(values["mucs"].mean())
    assert "lower is better" in sheet.caption and not sheet.printed


def test_only_seeds_that_both_were_run_with_are_compared(outputs: Outputs) -> None:
    gold = np.random.default_rng(0).random((6, 4))
    other = np.random.default_rng(1).random((6, 4))
    for seed, method, scores in ((1, "pixel", gold), (2, "pixel", -gold), (1, "tracin", other), (2, "abu", gold)):
        outputs.groups(method, seed, gold, scores)
    cells = shown(made(outputs)["paired"])
    assert cells["tracin"]["abu"] == "–" and cells["tracin"]["pixel"].endswith("§")
    assert "fewer than 10 queries" in made(outputs)["paired"].caption


def test_one_method_has_no_other(outputs: Outputs) -> None:
    outputs.lds("mucs", 1)
    assert "paired" not in made(outputs)
    outputs.lds("pixel", 1)
    assert made(outputs)["paired"].columns == ["method", "mean lds", "pixel", "mucs"]


def test_rises_of_losses_are_compared_above_those_of_as_many_random_items(outputs: Outputs) -> None:
    tables = {method: outputs.rises(method, 1, shift) for method, shift in (("pixel", 0.2), ("mucs", 1.0))}
    sheet = made(outputs)["paired"]
    values = {name: (table["rise_percent"] - table["random_rise_percent"]).to_numpy() for name, table in tables.items()}
    rows = {str(row["method"]): row for row in sheet.rows}
    assert sheet.columns == ["method", "mean rise above random", "pixel", "mucs"]
    assert rows["pixel"]["mucs"].value == pytest.approx(flip(values["mucs"] - values["pixel"]))
    assert rows["mucs"]["mean rise above random"].value == pytest.approx(values["mucs"].mean())
    assert "higher is better" in sheet.caption
