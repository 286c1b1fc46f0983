"""Spearman's correlation against SciPy's, and what its interval covers."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from tdattr.metrics.rank_correlation import bootstrap_mean, spearman


def test_spearman_is_scipys_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(6, size=(2, 15, 4)).astype(float)
    expected = [spearmanr(first[:, column], second[:, column]).statistic for column in range(4)]
    np.testing.assert_allclose(spearman(first, second), expected)
    stacked = spearman(np.stack([first, second]), np.stack([second, second]))
    np.testing.assert_allclose(stacked, [expected, np.ones(4)])


def test_a_constant_column_correlates_with_nothing() -> None:
    assert spearman(np.ones((5, 1)), np.arange(5.0)[:, None]).tolist() == [0.0]


def test_the_interval_holds_the_mean_and_narrows_with_the_rows() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for rows in (16, 256):
        first = rng.standard_normal((rows, 20))
        second = first + rng.standard_normal((rows, 20))
        low, high = bootstrap_mean(first, second, 300)
        assert low < spearman(first, second).mean() < high
        assert (low, high) == bootstrap_mean(first, second, 300)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_rows_that_all_columns_share_widen_the_interval() -> None:
    """Twenty copies of one query are worth one query, which an interval over queries alone would not see."""
    rng = np.random.default_rng(2)
    first = rng.standard_normal((32, 1))
    second = first + rng.standard_normal((32, 1))
    low, high = bootstrap_mean(np.repeat(first, 20, 1), np.repeat(second, 20, 1), 1000)
    assert high - low > 0.2
    assert bootstrap_mean(first, second, 1000) == pytest.approx((low, high), abs=0.05)
