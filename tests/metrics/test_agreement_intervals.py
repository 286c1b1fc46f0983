"""The interval of an agreement over queries, and the test of two methods, against SciPy and plain loops."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from tdattr.metrics.agreement import (
    estimate,
    interval,
    sign_flip_p_value,
)


def test_the_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).gamma(2, size=500)
    half = 1.96 * values.std() / 500**0.5
    low, high = interval(values, 4000) or (0, 0)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert interval(values, 4000) == (low, high) != interval(values, 4000, seed=1)
    assert interval(np.full(5, 0.25), 10) == (0.25, 0.25)


def test_the_interval_is_of_every_draw_of_two_queries() -> None:
    assert interval(np.array([0.0, 1.0]), 4000) == (0, 1)  # a quarter of the draws are 0, a quarter 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    ends = [interval(rng.normal(1, 1, 40), 2000) or (0, 0) for _ in range(200)]
    assert 0.88 <= np.mean([low < 1 < high for low, high in ends]) <= 0.99


def test_a_single_query_has_a_mean_and_no_interval() -> None:
    assert interval(np.array([0.25]), 4000) is None
    assert estimate(np.array([0.25]), 4000) == {"mean": 0.25, "low": None, "high": None}
    assert estimate(np.array([0.0, 1.0]), 4000) == {"mean": 0.5, "low": 0, "high": 1}


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_paired_is_the_share_of_sign_flips_at_least_as_extreme(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.integers(10, size=(2, count)) / 10  # tenths: equal sums that round differently
    differences = np.rint(10 * (first - second)).astype(int)
    sums = [abs(int(np.dot(signs, differences))) for signs in product([-1, 1], repeat=count)]
    expected = np.mean(np.array(sums) >= abs(differences.sum()))
    assert sign_flip_p_value(first, second) == sign_flip_p_value(second, first) == expected
    assert sign_flip_p_value(first, second, resamples=1) == expected


def test_paired_by_random_flips_is_near_the_exact_one_and_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 13), rng.normal(0, 1, 13)
    signs = np.array(list(product([-1, 1], repeat=13)))
    differences = first - second
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert 0.05 < exact < 0.9
    assert sign_flip_p_value(first, second) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p_value(first, second) == sign_flip_p_value(first, second)
    theirs = stats.permutation_test(
        (first, second), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert exact == pytest.approx(theirs.pvalue)


def test_paired_ends() -> None:
    same = np.linspace(0, 1, 20)
    assert sign_flip_p_value(same, same) == 1
    assert sign_flip_p_value(same[:3], same[:3]) == 1
    assert sign_flip_p_value(same + 1, same) == 1 / 10001
    assert sign_flip_p_value(same + 1, same, resamples=450) == 1 / 451
    assert sign_flip_p_value(same[:4] + 1, same[:4]) == 2 / 16


@pytest.mark.parametrize("count", [10, 30])
def test_p_is_uniform_without_a_difference(count: int) -> None:
    rng = np.random.default_rng(3)
    found = [sign_flip_p_value(*rng.normal(size=(2, count)), resamples=199) for _ in range(400)]
    for level in (0.05, 0.25, 0.5, 0.75):
        spread = (level * (1 - level) / 400) ** 0.5
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=3.5 * spread + 0.005)


@pytest.mark.usefixtures("unchecked")
def test_values_that_are_not_one_per_query_raise() -> None:
    good = np.arange(3.0)
    for bad in (np.array([]), np.ones((2, 2)), np.array([1, np.nan, 2])):
        for call in (lambda bad=bad: interval(bad, 10), lambda bad=bad: sign_flip_p_value(bad, good)):
            with pytest.raises(ValueError, match="one per query"):
                call()
    with pytest.raises(ValueError, match="paired"):
        sign_flip_p_value(good, good[:2])
    for call in (lambda: interval(good, 0), lambda: sign_flip_p_value(good, good, resamples=0)):
        with pytest.raises(ValueError, match="resamples"):
            call()
