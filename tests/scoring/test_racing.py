"""A race finds the highest rows of a table from few of its cells, and says of how many it is not sure."""

import numpy as np
import pytest
import torch

from tdattr.scores import LISTED
from tdattr.scoring.racing import Outline, race
from tests.scoring.races import PAIRS, POSITIONS, Table, draw


def best(scores: np.ndarray, k: int) -> set[int]:
    """The k highest."""
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


def recall(found: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The share of the k highest that are found."""
    return len(best(found, k) & best(truth, k)) / k


def test_the_highest_are_found_with_a_twentieth_of_the_cells() -> None:
    items, k, recalls, shares, misses = 2000, 40, [], [], []
    for seed in range(8):
        values, near = draw(items, seed)
        table = Table(values)
        found = race(table, Outline(near, POSITIONS), k, doubt=4.0)
        assert table.asked.max() == 1 and table.asked.sum() == found.facts["evaluations"]
        recalls.append(recall(found.means, values.mean(1), k))
        shares.append(table.asked.mean())
        misses.append(found.facts["expected_misses"])
    assert np.mean(recalls) >= 0.995 and min(recalls) >= 0.95
    assert np.mean(shares) <= 0.06
    assert all(0 <= missed < 1 for missed in misses)


def test_less_doubt_takes_fewer_cells_and_misses_more() -> None:
    values, near = draw(2000, 1, noise=0.08)
    found = [race(Table(values), Outline(near, POSITIONS), 40, doubt) for doubt in (0.5, 2.0, 4.0)]
    assert [each.facts["evaluations"] for each in found] == sorted(each.facts["evaluations"] for each in found)
    expected = [each.facts["expected_misses"] for each in found]
    assert expected == sorted(expected, reverse=True) and expected[0] > 1


def test_fewer_are_missed_than_are_expected_but_not_many_times_fewer() -> None:
    """With so little doubt that some are; the standard errors are those of items that move far."""
    missed, expected, k = 0, 0.0, 40
    for seed in range(24):
        values, near = draw(1000, seed, noise=0.06)
        found = race(Table(values), Outline(near, POSITIONS), k, doubt=0.7)
        missed += round(k * (1 - recall(found.means, values.mean(1), k)))
        expected += found.facts["expected_misses"]
    assert missed > 20 and 1 < expected / missed < 6


def test_rows_that_are_complete_have_their_means_and_no_error() -> None:
    values, near = draw(1500, 2)
    table = Table(values)
    found = race(table, Outline(near, POSITIONS), 30, doubt=4.0)
    complete = table.asked.all(1)
    assert 0 < complete.sum() < 300
    np.testing.assert_allclose(found.means[complete], values[complete].mean(1), rtol=1e-6)
    assert (found.standard_errors[complete] == 0).all() and (found.standard_errors[~complete] > 0).all()
    errors = (found.means - values.mean(1))[~complete] / found.standard_errors[~complete]
    assert 0.3 < np.sqrt(np.square(errors).mean()) < 3


@pytest.mark.parametrize("k", [1, 3, 30, 1199])
def test_any_k(k: int) -> None:
    values, near = draw(1200, 3)
    table = Table(values)
    found = race(table, Outline(near, POSITIONS), k, doubt=4.0)
    assert recall(found.means, values.mean(1), k) == 1
    listed = np.argsort(-found.means, kind="stable")[:LISTED]
    assert table.asked[listed].all()  # people are shown their scores
    assert set(listed) == best(values.mean(1), LISTED)


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_few_pairs(pairs: int) -> None:
    values, near = draw(300, 4)
    few = values[:, ::20][:, :pairs]
    found = race(Table(few), Outline(near, POSITIONS[::20][:pairs]), 6, doubt=4.0)
    assert recall(found.means, few.mean(1), 6) == 1


def test_an_item_counts_as_its_best_side() -> None:
    (left, near), (right, _) = draw(1500, 5), draw(1500, 6)
    values = np.concatenate([left, right])
    found = race(Table(values), Outline(np.concatenate([near, near + 1500]), POSITIONS, sides=2), 30, doubt=4.0)
    truth = np.maximum(left.mean(1), right.mean(1))
    assert recall(found.means.reshape(2, -1).max(0), truth, 30) >= 29 / 30
    assert len(best(left.mean(1), 30) & best(truth, 30)) < 25  # one side alone is not enough


def test_downward_shifts_count_where_they_are_absolute() -> None:
    values, near = draw(1500, 7)
    values[::2] *= -1
    found = race(Table(values), Outline(near, POSITIONS, absolute=True), 30, doubt=4.0)
    truth = np.abs(values.mean(1))
    assert recall(np.abs(found.means), truth, 30) >= 29 / 30
    assert {value % 2 for value in best(truth, 30)} == {0, 1}


def test_equal_rows_are_no_endless_race() -> None:
    table = Table(np.full((400, PAIRS), 0.25))
    found = race(table, Outline(np.arange(400), POSITIONS), 8, doubt=4.0)
    np.testing.assert_allclose(found.means, 0.25, rtol=0.1)  # estimates are shrunk towards 0
    assert torch.isfinite(torch.tensor([*found.facts.values()])).all()


def test_a_shift_that_is_no_number_ends_the_race() -> None:
    values, near = draw(800, 8)
    values[near[0], 3] = np.nan
    found = race(Table(values), Outline(near, POSITIONS), 16, doubt=4.0)
    assert np.isnan(found.means).any()
