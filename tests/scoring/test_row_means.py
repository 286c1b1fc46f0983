"""What a few cells of a row say of its mean."""

import numpy as np
import pytest

from tdattr.scoring.row_means import LEAST_ROWS, estimate_covariance, estimators, order_pairs, smooth_prior

PAIRS = 12
POSITIONS = np.arange(PAIRS) / PAIRS


@pytest.fixture
def covariance() -> np.ndarray:
    """Of shifts of which the last pairs vary most."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 1)) + rng.normal(size=(400, PAIRS)) * np.linspace(0.2, 2, PAIRS)
    return estimate_covariance(rows, smooth_prior(POSITIONS))


def test_the_prior_is_larger_between_neighbours() -> None:
    prior = smooth_prior(POSITIONS)
    assert np.trace(prior) == pytest.approx(1) and (np.diff(prior[0, 1:]) < 0).all()
    np.testing.assert_allclose(prior, prior.T)


def test_few_or_equal_rows_leave_the_prior_alone() -> None:
    prior = smooth_prior(POSITIONS)
    alone = estimate_covariance(np.empty((0, PAIRS)), prior)
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(estimate_covariance(rng.normal(size=(LEAST_ROWS - 1, PAIRS)), prior), alone)
    np.testing.assert_allclose(estimate_covariance(np.full((40, PAIRS), 0.25), prior), alone)
    assert not np.allclose(estimate_covariance(rng.normal(size=(LEAST_ROWS, PAIRS)), prior), alone)


def test_the_next_pair_leaves_the_least_variance(covariance: np.ndarray) -> None:
    order = order_pairs(covariance, np.array([3]))
    assert order[0] == 3 and sorted(order) == list(range(PAIRS))
    for known in (1, 2, 5):
        left = {}
        for pair in set(range(PAIRS)) - set(order[:known].tolist()):
            pairs = [*order[:known], pair]
            shared = covariance[pairs].mean(1)
            left[pair] = covariance.mean() - shared @ np.linalg.solve(covariance[np.ix_(pairs, pairs)], shared)
        assert order[known] == min(left, key=lambda pair: left[pair])


def test_estimates_err_as_much_as_they_say(covariance: np.ndarray) -> None:
    order, counts = order_pairs(covariance, np.array([], np.int64)), [1, 4, PAIRS]
    rows = np.random.default_rng(2).multivariate_normal(np.zeros(PAIRS), covariance, 20_000)
    found = estimators(covariance, order, counts)
    assert [each.variance for each in found] == sorted((each.variance for each in found), reverse=True)
    for count, each in zip(counts, found, strict=True):
        errors = rows[:, order[:count]] @ each.weights - rows.mean(1)
        assert errors.var() == pytest.approx(each.variance, rel=0.05, abs=1e-12)
    assert found[-1].variance == 0
