"""Removal judged by losses, on models that are only pretended: each item that was removed adds to a query's loss."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from tdattr.counterfactuals import Trained, Undecided
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.protocols import Judged, Verdict
from tdattr.protocols.removal_loss import RemovalLoss
from tdattr.scores import Scores
from tests.contexts import NoCounterfactuals, make_queries, unused

IDS = np.arange(100, 160)  # ids are not places
QUERIES = 4


class Additive(NoCounterfactuals):
    """The loss of a query is 1, and what the items that were removed are worth to it."""

    def __init__(self, worth: np.ndarray) -> None:  # [query, item]
        super().__init__()
        self.needs, self.worth = RemovalLoss.needs, worth
        self.removals: list[Ids] = []

    def train(self, removals: Sequence[Ids], *, repeats: int = 1, first: int = 0) -> list[list[Trained]]:
        self.require("retraining")
        assert (repeats, first) == (1, 0)
        self.removals = list(removals)
        return [[Trained(str(number), unused)] for number in range(len(removals))]

    def query_losses(self, models: Sequence[Trained], draws: int) -> np.ndarray:
        assert draws == 5
        return np.stack([1 + self.worth[:, np.isin(IDS, self.removals[int(model.address)])].sum(1) for model in models])


def protocol(k: int | None = 3, share: float = 0.02, randoms: int = 3) -> RemovalLoss:
    return RemovalLoss("removal_loss", k, share, randoms, 5, 200)


def evaluate(scores: np.ndarray, worth: np.ndarray, **settings: int) -> tuple[Verdict, Additive]:
    models = Additive(worth)
    queries = make_queries(torch.zeros(len(scores), 1, 2, 2), pd.DataFrame({"id": range(len(scores))}))
    return protocol(**settings).evaluate(Scores(torch.from_numpy(scores).float(), IDS), {}, queries, models), models


@pytest.fixture
def worth() -> np.ndarray:
    return np.random.default_rng(0).random((QUERIES, len(IDS))) ** 4


def test_what_is_named_is_removed_and_random_items_as_many(worth: np.ndarray) -> None:
    _, models = evaluate(worth, worth)
    nothing, named, *randoms = models.removals
    top = np.unique(IDS[np.argsort(-worth, axis=1)[:, :3]])
    assert len(nothing) == 0 and np.array_equal(named, top)
    assert [len(np.unique(random)) for random in randoms] == [len(top)] * 3
    assert len({tuple(random) for random in randoms}) == 3 and np.isin(np.concatenate(randoms), IDS).all()


def test_the_rise_is_that_of_the_losses(worth: np.ndarray) -> None:
    verdict, models = evaluate(worth, worth)
    losses = models.query_losses([Trained(str(number), unused) for number in range(5)], 5)
    for query, row in enumerate(verdict.table):
        rises = 100 * (losses[1:, query] / losses[0, query] - 1)
        assert row["rise_percent"] == pytest.approx(rises[0])
        assert row["random_rise_percent"] == pytest.approx(rises[1:].mean())
        assert row["random_rise_most_percent"] == pytest.approx(rises[1:].max())
    excess = [row["rise_percent"] - row["random_rise_percent"] for row in verdict.table]
    found = verdict.summary["excess_percent"]
    assert found["mean"] == pytest.approx(np.mean(excess)) and found["low"] < found["mean"] < found["high"]


def test_scores_that_know_do_better_than_scores_that_mislead(worth: np.ndarray) -> None:
    shared = worth[:1] * np.arange(1, QUERIES + 1)[:, None]  # else one query's least is another's most
    knows, misleads = (evaluate(scores, shared)[0] for scores in (shared, -shared))
    assert knows.summary["above_all_random"] == 1 and misleads.summary["above_all_random"] == 0
    assert knows.summary["excess_percent"]["low"] > 0 > misleads.summary["excess_percent"]["high"]
    assert protocol().headline(knows.summary, pd.DataFrame()).keys() == {"loss_rise", "loss_rise_low", "loss_rise_high"}


def test_one_picture_has_a_number_and_no_interval(worth: np.ndarray) -> None:
    verdict, _ = evaluate(worth[:1], worth[:1])
    assert "(no interval) points more" in verdict.lines[0] and " to " not in verdict.lines[0]
    more = verdict.summary["excess_percent"]
    assert more["low"] is more["high"] is None
    assert protocol().headline(verdict.summary, pd.DataFrame()) == {"loss_rise": more["mean"]}


def test_nothing_would_be_left(worth: np.ndarray) -> None:
    with pytest.raises(UserError, match="are the whole training set"):
        evaluate(worth, worth, k=len(IDS))


def test_before_the_scores_are_there_its_removals_are_undecided() -> None:
    """One for the method, and the random ones, each of another address: they leave out as much, not the same."""
    asked: list[Ids | Undecided] = []

    def train(removals: Sequence[Ids | Undecided], **_: int) -> list[list[Trained]]:
        asked.extend(removals)
        return [[Trained(str(number), unused)] for number in range(len(removals))]

    models = NoCounterfactuals(RemovalLoss.needs, train=train, plan_query_losses=lambda trained, draws: [])
    assert protocol().work(Judged("a", None), {}, IDS, models) is not None
    nothing, *undecided = asked
    assert isinstance(nothing, np.ndarray) and len(nothing) == 0
    assert [removal.least for removal in undecided if isinstance(removal, Undecided)] == [3] * 4
    assert len({removal.by for removal in undecided if isinstance(removal, Undecided)}) == 4
