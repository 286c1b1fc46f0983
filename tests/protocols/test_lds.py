"""LDS on models that are only pretended: whose losses are the sum of what their items are worth, and noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import spearmanr

from tdattr.configs import build
from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.protocols import ProtocolSetup, Verdict
from tdattr.protocols.lds import LDS
from tdattr.scores import DAMPING_UNIT, Scores
from tests.conftest import CONF
from tests.contexts import NoCounterfactuals, make_queries, unused

QUERIES = 3
IDS = np.arange(100, 140)  # ids are not places


def protocol(**changes: Any) -> LDS:
    small = {"subsets": 12, "repeats": 2, "draws": 5, "resamples": 50}
    return build(OmegaConf.merge(OmegaConf.load(CONF / "protocol" / "lds.yaml"), small | changes), "protocol")


class Additive(NoCounterfactuals):
    """A model's loss is -(the worth of the items that it saw) + what the repeat adds."""

    def __init__(self, worth: np.ndarray, noise: float = 0.0) -> None:  # [query, item]
        super().__init__()
        self.needs, self.worth, self.noise = LDS.needs, worth, noise
        self.calls: list[tuple[frozenset[int], int]] = []

    def train(self, removals: Sequence[Ids], *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        self.require("retraining")
        assert first == 0
        for removed in removals:
            assert len(set(removed.tolist())) == len(removed)
        made: list[list[Trained]] = []
        for removed in removals:
            made.append([])
            for repeat in range(repeats):
                self.calls.append((frozenset(removed.tolist()), repeat))
                made[-1].append(Trained(str(len(self.calls) - 1), unused))
        return made

    def query_losses(self, models: Sequence[Trained], draws: int) -> np.ndarray:
        assert draws == 5
        rows = []
        for model in models:
            removed, repeat = self.calls[int(model.address)]
            seen = ~np.isin(IDS, list(removed))
            shift = 1000.0 if repeat else -1000.0  # a repeat in the wrong row would be seen
            noise = np.random.default_rng(int(model.address)).standard_normal(QUERIES)
            rows.append(5.0 - self.worth[:, seen].sum(1) + shift + self.noise * noise)
        return np.stack(rows)


@pytest.fixture
def worth() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((QUERIES, len(IDS)))


def scores(worth: np.ndarray, dampings: list[float] | None = None) -> Scores:
    return Scores(torch.from_numpy(worth).float(), IDS, dampings)


def judged(lds: LDS, scores: Scores, models: Additive) -> Verdict:
    queries = make_queries(torch.zeros(QUERIES, 1, 1, 1), pd.DataFrame(index=range(QUERIES)))
    return lds.evaluate(scores, {}, queries, models)


def test_the_true_worth_scores_one_and_its_negative_minus_one(worth: np.ndarray) -> None:
    for sign in (1, -1):
        verdict = judged(protocol(), scores(sign * worth), Additive(worth))
        assert verdict.summary["lds"]["mean"] == pytest.approx(sign)
        assert [row["query"] for row in verdict.table] == [0, 1, 2]
        assert [row["lds"] for row in verdict.table] == pytest.approx([sign] * 3)
        assert f"LDS {sign:+.3f}" in verdict.lines[0]


def test_noisy_losses_against_a_plain_loop(worth: np.ndarray) -> None:
    models = Additive(worth, noise=4.0)
    lds = protocol(subsets=10, repeats=3)
    given = worth + np.random.default_rng(9).standard_normal(worth.shape)
    verdict = judged(lds, scores(given), models)
    subsets = [set(IDS) - removed for removed, repeat in models.calls if repeat == 0]
    assert len(subsets) == 10
    assert all(len(subset) == 20 for subset in subsets)
    assert len({frozenset(subset) for subset in subsets}) == 10
    losses = models.query_losses([Trained(str(n), unused) for n in range(30)], 5).reshape(10, 3, QUERIES).mean(1)
    expected = []
    for query in range(QUERIES):
        sums = [given[query, [int(i) - 100 for i in sorted(subset)]].sum() for subset in subsets]
        expected.append(spearmanr(-np.array(sums), losses[:, query]).statistic)
    assert [row["lds"] for row in verdict.table] == pytest.approx(expected)
    found = verdict.summary["lds"]
    assert found["mean"] == pytest.approx(np.mean(expected))
    assert found["low"] < found["mean"] < found["high"]


def test_the_ceiling_is_what_as_many_other_repeats_reach(worth: np.ndarray) -> None:
    """Measured with repeats that the formula has not seen."""
    few, many = Additive(worth, noise=4.0), Additive(worth, noise=4.0)
    said = judged(protocol(subsets=60, repeats=3), scores(worth), few).summary["lds"]["ceiling"]
    judged(protocol(subsets=60, repeats=30), scores(worth), many)
    losses = many.query_losses([Trained(str(n), unused) for n in range(60 * 30)], 5).reshape(60, 10, 3, QUERIES).mean(2)
    pairs = [(first, second) for first in range(10) for second in range(first)]
    reached = [
        spearmanr(losses[:, first, query], losses[:, second, query]).statistic
        for first, second in pairs
        for query in range(QUERIES)
    ]
    assert said == pytest.approx(np.mean(reached), abs=0.1) and 0.2 < said < 0.95
    assert "ceiling" not in judged(protocol(repeats=1), scores(worth), Additive(worth)).summary["lds"]


def test_subsets_depend_on_their_number_and_the_seed_alone() -> None:
    few, many = protocol(subsets=5), protocol(subsets=9)
    assert np.array_equal(few.members(40, 1), many.members(40, 1)[:5])
    assert not np.array_equal(few.members(40, 1), few.members(40, 2))
    assert protocol(share=0.25).members(40, 1).shape == (12, 10)
    counts = np.bincount(protocol(subsets=400).members(40, 1).ravel(), minlength=40)
    assert np.abs(counts - 200).max() < 60  # six standard deviations


def test_the_best_of_a_grid_is_named_and_all_are_reported(worth: np.ndarray) -> None:
    noise = np.random.default_rng(5).standard_normal(worth.shape)
    grid = np.stack([noise, worth + noise, worth, -worth], axis=1)
    verdict = judged(protocol(), scores(grid, [0.1, 1.0, 10.0, 100.0]), Additive(worth))
    assert verdict.summary["damping"] == 10.0
    assert verdict.summary["lds"]["mean"] == pytest.approx(1)
    found = {row["damping"]: row["mean"] for row in verdict.summary["grid"]}
    assert list(found) == [0.1, 1.0, 10.0, 100.0]
    assert found[100.0] == pytest.approx(-1)
    alone = judged(protocol(), scores(worth + noise), Additive(worth))
    assert found[1.0] == pytest.approx(alone.summary["lds"]["mean"])
    assert len(verdict.lines) == 6
    assert "published unit" in verdict.lines[0] and verdict.summary["damping_unit"] == DAMPING_UNIT
    assert "best damping 10" in verdict.lines[-1]


def test_subsets_without_items_are_refused() -> None:
    setup = ProtocolSetup(pd.DataFrame(index=range(40)), pd.DataFrame(index=range(1)), [])
    with pytest.raises(UserError, match=r"protocol.share=0.05 of 40 training items is too few"):
        protocol(share=0.05).check(setup)
    protocol(share=0.1).check(setup)
