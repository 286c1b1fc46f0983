"""LDS on models that are only pretended: whose losses are the sum of what their items are worth, and noise."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import spearmanr

from tdattr.artifacts import Artifact
from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.protocols import Generated, Scores
from tdattr.protocols.lds import LDS

YAML = Path(__file__).parents[2] / "conf" / "protocol" / "lds.yaml"
QUERIES = 3
IDS = np.arange(100, 140)  # ids are not places


def protocol(**changes: Any) -> LDS:
    small = {"subsets": 12, "repeats": 2, "draws": 5, "resamples": 50}
    return build(OmegaConf.merge(OmegaConf.load(YAML), small | changes), "protocol")


@dataclass
class Additive:
    """A model's loss is -(the worth of the items that it saw) + what the repeat adds."""

    worth: np.ndarray  # [query, item]
    noise: float = 0.0
    seed: int = 7
    asked: list[tuple[frozenset[int], int]] = field(default_factory=list)

    def train(self, removals: list[np.ndarray], repeats: int) -> list[list[Artifact]]:
        for removed in removals:
            assert len(set(removed.tolist())) == len(removed)
        made = []
        for removed in removals:
            made.append([])
            for repeat in range(repeats):
                self.asked.append((frozenset(removed.tolist()), repeat))
                made[-1].append(Artifact("pretrain", str(len(self.asked) - 1), Path()))
        return made

    def query_losses(self, models: list[Artifact], draws: int) -> np.ndarray:
        assert draws == 5
        rows = []
        for model in models:
            removed, repeat = self.asked[int(model.address)]
            seen = ~np.isin(IDS, list(removed))
            shift = 1000.0 if repeat else -1000.0  # a repeat in the wrong row would be seen
            noise = np.random.default_rng(int(model.address)).standard_normal(QUERIES)
            rows.append(5.0 - self.worth[:, seen].sum(1) + shift + self.noise * noise)
        return np.stack(rows)

    def original(self) -> Generated:
        raise AssertionError

    regenerate = similarities = original


@pytest.fixture
def worth() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((QUERIES, len(IDS)))


def scores(worth: np.ndarray, dampings: list[float] | None = None) -> Scores:
    return Scores(torch.from_numpy(worth).float(), IDS, dampings)


def test_the_true_worth_scores_one_and_its_negative_minus_one(worth: np.ndarray) -> None:
    for sign in (1, -1):
        verdict = protocol().evaluate(scores(sign * worth), {}, Additive(worth))
        assert verdict.summary["lds"]["mean"] == pytest.approx(sign)
        assert [row["query"] for row in verdict.table] == [0, 1, 2]
        assert [row["lds"] for row in verdict.table] == pytest.approx([sign] * 3)
        assert f"LDS {sign:+.3f}" in verdict.lines[0]


def test_noisy_losses_against_a_plain_loop(worth: np.ndarray) -> None:
    models = Additive(worth, noise=4.0)
    lds = protocol(subsets=10, repeats=3)
    given = worth + np.random.default_rng(9).standard_normal(worth.shape)
    verdict = lds.evaluate(scores(given), {}, models)
    subsets = [set(IDS) - removed for removed, repeat in models.asked if repeat == 0]
    assert len(subsets) == 10
    assert all(len(subset) == 20 for subset in subsets)
    assert len({frozenset(subset) for subset in subsets}) == 10
    losses = models.query_losses([Artifact("", str(n), Path()) for n in range(30)], 5).reshape(10, 3, QUERIES).mean(1)
    expected = []
    for query in range(QUERIES):
        sums = [given[query, [int(i) - 100 for i in sorted(subset)]].sum() for subset in subsets]
        expected.append(spearmanr(-np.array(sums), losses[:, query]).statistic)
    assert [row["lds"] for row in verdict.table] == pytest.approx(expected)
    found = verdict.summary["lds"]
    assert found["mean"] == pytest.approx(np.mean(expected))
    assert found["low"] < found["mean"] < found["high"]


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
    verdict = protocol().evaluate(scores(grid, [0.1, 1.0, 10.0, 100.0]), {}, Additive(worth))
    assert verdict.summary["damping"] == 10.0
    assert verdict.summary["lds"]["mean"] == pytest.approx(1)
    found = {row["damping"]: row["mean"] for row in verdict.summary["grid"]}
    assert list(found) == [0.1, 1.0, 10.0, 100.0]
    assert found[100.0] == pytest.approx(-1)
    alone = protocol().evaluate(scores(worth + noise), {}, Additive(worth))
    assert found[1.0] == pytest.approx(alone.summary["lds"]["mean"])
    assert len(verdict.lines) == 5
    assert "best damping 10" in verdict.lines[-1]


@pytest.mark.parametrize(
    "changes", [{"subsets": 2}, {"repeats": 0}, {"draws": 0}, {"resamples": 0}, {"share": 0.0}, {"share": 1.0}]
)
def test_impossible_numbers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"subsets of at least 3"):
        protocol(**changes)


def test_subsets_without_items_are_refused() -> None:
    with pytest.raises(UserError, match=r"protocol.share=0.05 of 40 training items is too few"):
        protocol(share=0.05).check(40, 1)
    protocol(share=0.1).check(40, 1)
