"""What items depend on themselves: a query that is the item itself, pairs, and the way back in parts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tdattr import methods
from tdattr.errors import UserError
from tdattr.metagradients import room, trajectory
from tdattr.methods import Context, Scored, self_influence
from tdattr.methods.das import DAS
from tdattr.methods.gradient_similarity import GradientSimilarity
from tdattr.methods.journey_trak import JourneyTrak
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.output.pixels import PixelsOutput
from tdattr.methods.self_influence import ask_items, score_itself
from tdattr.methods.trak import Trak
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.projection import ProjectionConfig
from tdattr.store import Store
from tests.contexts import IDS, keep

GRADIENTS = GradientConfig("loss", 3, "generation", False, "all", ProjectionConfig("none", 8, 1))
METAGRADIENT = Metagradient("metagradient", LossOutput("loss", 3, "generation"), "replaced", 30.0, None)
METHODS = [
    GradientSimilarity("tracin", GRADIENTS, False),
    Trak("trak", GRADIENTS, 5.0, [1.0]),
    Trak("dtrak", replace(GRADIENTS, output="squared_output", projection=ProjectionConfig("rademacher", 8, 1)), 5, [1]),
    DAS("das", replace(GRADIENTS, output="mean_output", normalise=True), 5.0, [1.0], "mean", True),
    DAS("das", GRADIENTS, 5.0, [1.0], "published_code", False),
    METAGRADIENT,
]
STEPS = 12


@pytest.fixture
def world(make_trained_world: Callable[..., Context], tiny_dit: Callable[..., nn.Module], tiny_train: Any) -> Context:
    """A context whose F1 has been trained on ``IDS``."""
    train = tiny_train(steps=STEPS, epsilon=1e-3)
    return make_trained_world(train, lambda: tiny_dit(4), conditions=torch.eye(4))


def matrix(method: Any, world: Context) -> torch.Tensor:
    """The scores of every item for every item, each asked as a query."""
    scorer = method.start(ask_items(world))
    return torch.stack([scorer(query).scores for query in range(len(IDS))]).double()


def by_pair(values: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """The twins of items with that influence on each other, pair by pair."""
    count = len(values)
    shared = torch.full((count, count), -torch.inf, dtype=torch.float64)
    for one in range(count):
        for other in range(count):
            if one != other:
                total = values[one, one] + values[other, other]
                shared[one, other] = (values[one, other] + values[other, one]) / total if total > 0 else 0
    best, twin = shared.max(1)
    return IDS[twin.numpy()], best


def check(scored: Scored, values: torch.Tensor) -> None:
    """Scores of items for themselves are those of items as queries."""
    torch.testing.assert_close(scored.scores.double(), values.diagonal(), rtol=1e-4, atol=1e-9)
    twins, shared = by_pair(values)
    assert scored.twins is not None
    assert scored.twins.ids.tolist() == twins.tolist()
    torch.testing.assert_close(scored.twins.shared.double(), shared, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_item_is_the_query_for_itself(world: Context, method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_influence, "ROWS", 3)
    own = replace(method, self=True)
    assert own.scores_itself and not method.scores_itself
    check(own.start(world)(0), matrix(method, world))
    assert method.describe() == replace(own, self=False).describe() and "self" not in method.describe()
    assert own.describe()["self"] is True


def test_of_two_copies_each_does_for_the_other_what_it_does_for_itself() -> None:
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 5)))
    features[6] = features[2]
    features[3] *= 9  # what is long does much to all others
    scored = score_itself(IDS, lambda some, others: features[some] @ features[others].T)
    assert scored.twins is not None
    order = torch.argsort(scored.twins.shared, descending=True).tolist()
    assert set(order[:2]) == {2, 6} and float(scored.twins.shared[2]) == pytest.approx(1)
    assert scored.twins.ids[[2, 6]].tolist() == IDS[[6, 2]].tolist()
    assert float(scored.twins.shared.sort(descending=True).values[2]) < 1
    assert int(scored.scores.argmax()) == 3


def test_what_two_items_do_to_each_other_more_than_to_themselves_is_no_copy() -> None:
    """DAS has such: an item that others explain, and whose residual is large, next to one of which neither is so."""
    products = torch.tensor([[1.0, 9.0, 0.0], [9.0, 100.0, 0.0], [0.0, 0.0, 1.0]])
    values = (products * torch.tensor([10.0, 0.1, 1.0])).square()
    assert values[0, 1] + values[1, 0] > 40 * (values[0, 0] + values[1, 1])
    values = torch.block_diag(values, torch.ones(2, 2))
    twins = score_itself(IDS[:5], lambda some, others: values[some, others]).twins
    assert twins is not None and twins.shared.tolist()[3:] == [1, 1] and 0 < float(twins.shared[0]) < 0.03
    doubtful = torch.tensor([[1.0, 0.5], [0.5, -0.999]])  # what they do to themselves is next to nothing
    twins = score_itself(IDS[:2], lambda some, others: doubtful[some, others]).twins
    assert twins is not None and 0 < float(twins.shared.max()) < 0.01


def test_what_does_nothing_for_itself_shares_nothing() -> None:
    values = -torch.eye(len(IDS))
    twins = score_itself(IDS, lambda some, others: values[some, others]).twins
    assert twins is not None and twins.shared.tolist() == [0.0] * len(IDS)


def test_the_way_back_in_parts_is_the_whole_one_and_goes_on(
    world: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = matrix(METAGRADIENT, world)
    monkeypatch.setattr(methods.metagradient, "fit_queries", lambda *_: 3)  # eight items: 3, 3 and 2
    parts = replace(world, plan=keep(Store(tmp_path / "parts", "cpu")))
    real, steps = trajectory.step_back, []

    def count(*arguments: Any) -> Any:
        steps.append(len(arguments[4].items))
        if len(steps) == STEPS + 5 and len(list(tmp_path.glob("parts/**/interim_back.progress"))) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(trajectory, "step_back", count)
    own = replace(METAGRADIENT, self=True)
    with pytest.raises(KeyboardInterrupt):
        own.start(parts)
    steps.clear()
    steps += [0] * 2 * STEPS
    scored = own.start(parts)(0)
    assert steps[2 * STEPS :] == [3] * (STEPS - 4) + [2] * STEPS  # not the first three items, nor a stretch of the next
    check(scored, values)


def test_what_it_takes_is_said_before(
    world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = replace(METAGRADIENT, self=True)
    caplog.set_level("INFO")
    own.check_room(lambda: world, tmp_path)
    assert "for each of the 8 items, 8 at a time: the work of at most 17 trainings" in caplog.text
    assert [plan.cost().work.gradients for plan in own.work(world).needs] == [2 * STEPS * 8 * world.train.batch_size]
    monkeypatch.setattr(room, "find_free_memory", lambda _: 0)
    with pytest.raises(UserError, match="leave items out with remove.groups, or train less"):
        own.check_room(lambda: world, tmp_path)


def test_what_depends_on_nothing_but_itself_has_no_setting(world: Context) -> None:
    with pytest.raises(UserError, match="cosine of every item's gradient with itself is 1"):
        GradientSimilarity("gradient_cosine", GRADIENTS, True, True)
    with pytest.raises(UserError, match="which were not generated: leave output@method.output=loss"):
        Metagradient("metagradient", PixelsOutput("pixels", 2), "replaced", 30.0, None, True)
    with pytest.raises(UserError, match="no journey"):
        JourneyTrak("journey_trak", GRADIENTS, 5.0, [1.0], True)


def test_the_items_that_go_back_together_are_as_many_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    for memory, fitting in ((0, 1), (10**12, 50)):
        monkeypatch.setattr(room, "find_free_memory", lambda _, memory=memory: memory)
        assert room.fit_queries(1000, 50, 100, 50, 8, device) == fitting
    needed = room.count_room(1000, 50, 100, 7, 8).memory
    monkeypatch.setattr(room, "find_free_memory", lambda _: 2 * needed)
    assert room.fit_queries(1000, 50, 100, 50, 8, device) == 7
    assert room.fit_queries(1000, 50, 100, 50, 8, device, needed) < 7  # which something else takes of it
    assert room.fit_queries(1000, 50, 100, 50, 8, torch.device("cuda"), needed) == 7  # not of the device's own
