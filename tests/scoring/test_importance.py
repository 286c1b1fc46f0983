"""Estimates of all rows from the same few pairs."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from tdattr.scoring.importance import COMPLETE_ROWS, weigh
from tests.scoring.races import PAIRS, POSITIONS, Table, draw

COUNT = 16


def test_estimates_rank_as_full_scores_do_and_those_of_a_few_levels_do_less_well() -> None:
    for seed in range(3):
        values, _ = draw(1000, seed, noise=0.01)
        table = Table(values)
        found = weigh(table, 1000, POSITIONS, COUNT, np.random.default_rng(seed))
        truth = values.mean(1)
        agreement = spearmanr(found.means, truth).statistic
        assert agreement > 0.98 and agreement > spearmanr(values[:, -COUNT:].mean(1), truth).statistic
        assert found.means.sum() == pytest.approx(truth.sum(), rel=0.02)
        complete = table.asked.all(1)
        assert complete.sum() == COMPLETE_ROWS and table.asked.max() == 1
        assert (table.asked[~complete].sum(1) == COUNT).all()
        assert found.facts["evaluations"] == table.asked.sum()
        np.testing.assert_allclose(found.means[complete], truth[complete], rtol=1e-6)
        errors = (found.means - truth)[~complete] / found.standard_errors[~complete]
        assert 0.3 < np.sqrt(np.square(errors).mean()) < 3


def test_all_pairs_are_the_scores_themselves() -> None:
    values, _ = draw(100, 4)
    found = weigh(Table(values), 100, POSITIONS, PAIRS, np.random.default_rng(0))
    np.testing.assert_allclose(found.means, values.mean(1), rtol=1e-5)
    assert (found.standard_errors < 1e-6).all()


def test_fewer_items_than_complete_rows() -> None:
    values, _ = draw(40, 5)
    found = weigh(Table(values[:20]), 20, POSITIONS, COUNT, np.random.default_rng(0))
    np.testing.assert_allclose(found.means, values[:20].mean(1), rtol=1e-6)
