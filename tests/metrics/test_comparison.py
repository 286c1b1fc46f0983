"""AUC, p-values, differences and overlaps against scikit-learn, SciPy, enumeration and numbers worked out by hand."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from tdattr.metrics.comparison import FEW, NO_CHANGE, compare, explain, mark_few, overlap, show_change, warn_few


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 0.2, 15).round(1)  # rounded: ties
    reference = rng.normal(0.4, 0.2, 11).round(1)
    is_reference = np.repeat([0, 1], [15, 11])
    expected = roc_auc_score(is_reference, np.concatenate([values, reference]))
    assert compare(values, reference).auc == pytest.approx(expected)
    assert compare(values, reference, two_tailed=True).auc == pytest.approx(expected)


def test_auc_ends() -> None:
    low, high = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5])
    assert compare(low, high).auc == 1
    assert compare(high, low).auc == 0
    assert compare(low, low).auc == 0.5


def test_p_is_the_share_of_orders_at_least_as_extreme() -> None:
    values, reference = np.array([0.11, 0.21, 0.34, 0.52]), np.array([0.25, 0.41, 0.63, 0.77, 0.81])
    everything = np.concatenate([values, reference])

    def wins(chosen: np.ndarray, others: np.ndarray) -> int:
        return int((others[:, None] > chosen).sum())

    found = wins(values, reference)
    every = []
    for places in combinations(range(9), 4):
        every.append(wins(everything[list(places)], np.delete(everything, places)))
    at_least = np.mean(np.array(every) >= found)
    assert compare(values, reference).p_value == pytest.approx(at_least)
    assert compare(values, reference, two_tailed=True).p_value == pytest.approx(2 * at_least)
    assert compare(reference, values).p_value > 0.9  # one-tailed: higher similarities are not better


@pytest.mark.parametrize(("two_tailed", "alternative"), [(False, "less"), (True, "two-sided")])
def test_p_of_many_values_is_that_of_scipy(two_tailed: bool, alternative: str) -> None:
    rng = np.random.default_rng(0)
    values, reference = rng.normal(0.3, 0.2, 60).round(2), rng.normal(0.35, 0.2, 60).round(2)
    expected = stats.mannwhitneyu(values, reference, alternative=alternative).pvalue
    assert 0 < expected < 1
    assert compare(values, reference, two_tailed).p_value == pytest.approx(expected)


def test_difference_and_interval_worked_out_by_hand() -> None:
    # median of the reference 0.5: changes -20, -40, 0 and 20 %, mean -10, squared deviations 100 + 900 + 100 + 900
    result = compare(np.array([0.4, 0.3, 0.5, 0.6]), np.array([0.1, 0.5, 0.6]))
    assert result.difference_percent == pytest.approx(-10)
    assert result.ci95 == pytest.approx(1.98 * (2000 / 3) ** 0.5 / 2)
    assert result.as_dict() == {
        "auc": result.auc,
        "p_value": result.p_value,
        "difference_percent": result.difference_percent,
        "ci95": result.ci95,
        "small_median": False,
        "queries": 4,
    }


@pytest.mark.parametrize("median", [-5.0, -0.2, -1e-9, 0.0, 1e-9, 0.0099])
def test_a_drop_below_a_small_median_is_a_negative_change(median: float) -> None:
    reference = median + np.array([-0.3, 0.0, 0.4])
    result = compare(median - np.array([0.02, 0.04]), reference)
    # from 0.01, in percent of it
    assert result.difference_percent == pytest.approx(1e4 * (median - 0.03) - 100)
    assert result.small_median
    assert result.ci95 == pytest.approx(1.98 * 1e4 * 0.01)  # of two values 0.02 apart
    far = compare(median + np.array([2.0, 3.0]), reference)
    assert (far.difference_percent > 0) == (median + 2.5 > 0.01)


def test_a_median_of_the_floor_and_more_is_taken_as_it_is() -> None:
    for median in (0.01, 0.5):
        result = compare(np.array([0.5 * median, 0.7 * median]), np.array([median / 2, median, 3.0]))
        assert result.difference_percent == pytest.approx(-40)
        assert not result.small_median


def test_the_floor_of_the_median_touches_neither_auc_nor_p() -> None:
    rng = np.random.default_rng(0)
    values, reference = rng.normal(0.5, 0.2, 20), rng.normal(0.6, 0.2, 20)
    plain, shifted = compare(values, reference), compare(values - 2, reference - 2)
    assert (plain.auc, plain.p_value) == (shifted.auc, shifted.p_value)
    assert shifted.small_median and not plain.small_median


def test_a_single_value_has_no_interval() -> None:
    result = compare(np.array([0.4]), np.array([0.5, 0.9, 0.3]))
    assert result.difference_percent == pytest.approx(-20)
    assert np.isnan(result.ci95)
    assert result.auc == pytest.approx(2 / 3)


def test_overlap_worked_out_by_hand() -> None:
    # pairs: {1, 2} of 4, {2} of 4, {2, 7} of 4
    mean, interval = overlap(np.array([[1, 2, 3, 4], [9, 2, 1, 7], [2, 5, 6, 7]]))
    assert mean == pytest.approx((50 + 25 + 50) / 3)
    assert interval == pytest.approx(1.98 * np.sqrt(((50 - 125 / 3) ** 2 * 2 + (25 - 125 / 3) ** 2) / 2) / 3**0.5)


def test_overlap_ends() -> None:
    assert overlap(np.array([[1, 2], [2, 1], [1, 2]])) == (100, 0)
    assert overlap(np.array([[1, 2], [3, 4], [5, 6]])) == (0, 0)
    mean, interval = overlap(np.array([[1, 2], [2, 3]]))
    assert mean == 50
    assert np.isnan(interval)
    assert np.isnan(overlap(np.array([[1, 2, 3]]))).all()


def test_a_verdict_about_nothing_is_marked() -> None:
    rng = np.random.default_rng(0)
    reference = 0.9999 + 1e-5 * rng.random(12)
    nothing = compare(reference - 2e-5 * rng.normal(0.2, 1, 12), reference)
    assert nothing.no_change and nothing.marks == "‡"
    clear = compare(reference - 0.3, reference)
    assert not clear.no_change and clear.marks == ""
    few = compare(reference[:9] - 0.3, reference[:9])
    assert few.few_queries and few.marks == "§" == mark_few(9) and mark_few(10) is None
    words = "The verdict stands on 9 queries, fewer than 10: raise queries.controls."
    assert warn_few(9, "queries.controls") == words and warn_few(10, "queries.controls") is None
    assert "stands on 1 query," in str(warn_few(1, "queries.attributed"))
    alike = compare(reference[:3], reference[:3] * 0 + reference[0])
    assert compare(reference[:1], reference).marks == "‡§" == alike.marks  # without an interval nothing is shown
    assert compare(reference - 5, reference - 5).marks == "†"  # of a small median the change says nothing at all
    assert explain("0.5§ 0.3‡‡§") == f"{NO_CHANGE} {FEW}" and explain("*") == ""
    assert show_change(-1.25, float("nan"), False, " %") == "-1.2 %"
