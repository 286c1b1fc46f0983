"""Metagradients of groups against trainings in which they count less, and against those without them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metagradients import room
from tdattr.methods import Context, MethodSetup
from tdattr.methods.group_metagradient import BEYOND, GroupMetagradient
from tdattr.methods.group_tangents import GroupTangent
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output.loss import LossOutput
from tdattr.methods.output.pixels import PixelsOutput
from tdattr.methods.weighted_training import train_weighted
from tests.contexts import IDS, NoCounterfactuals

OUTPUT = LossOutput("loss", 30, "training")
METHOD = GroupMetagradient("group_metagradient", OUTPUT, "empty", 30.0, None, points=1)
GROUPS = {"one": IDS[:2], "two": IDS[2:5]}


@pytest.fixture
def world(smooth_world: Context) -> Context:
    """A context with groups."""
    return replace(smooth_world, counterfactuals=NoCounterfactuals(METHOD.needs, groups=lambda: GROUPS))


def score(method: Metagradient, world: Context) -> Tensor:
    """The scores of all queries."""
    scorer = method.start(world)
    return torch.stack([scorer(query).scores for query in range(len(world.queries))]).double()


def lose(world: Context, ids: Ids, weight: float, removal: Any, folder: Path) -> Tensor:
    """The queries' losses after a real training in which a group counts so much."""
    folder.mkdir()
    counts, _ = GroupTangent(world, ids, weight, removal, "it").count()
    network = train_weighted(world, counts, folder)
    return OUTPUT.evaluate(world, network)[:, 0]


def test_the_first_order_is_the_sum_of_the_items(world: Context) -> None:
    items = score(Metagradient("metagradient", OUTPUT, "empty", 30.0, None), world)
    sums = torch.stack([items[:, :2].sum(1), items[:, 2:5].sum(1)], dim=1)
    torch.testing.assert_close(score(METHOD, world), sums)
    centred = items - items.mean(1, keepdim=True)
    sums = torch.stack([8 / 6 * centred[:, :2].sum(1), 8 / 5 * centred[:, 2:5].sum(1)], dim=1)
    torch.testing.assert_close(score(replace(METHOD, removal="replaced"), world), sums, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("removal", ["empty", "replaced"])
def test_a_further_point_tells_what_the_first_does_not(removal: Any, world: Context, tmp_path: Path) -> None:
    def lose_all(weight: float) -> Tensor:
        folders = {name: tmp_path / f"{weight} {name}" for name in GROUPS}
        return torch.stack([lose(world, ids, weight, removal, folders[name]) for name, ids in GROUPS.items()], dim=1)

    change = lose_all(0.0) - lose_all(1.0)
    method = replace(METHOD, removal=removal, points=2)
    first, second = score(replace(method, points=1), world), score(method, world)
    errors = [float((found - change).norm() / change.norm()) for found in (first, second)]
    assert errors[1] < min(0.1, errors[0] / 2), errors
    beyond = float((second - first)[0].norm() / second[0].norm())
    assert method.start(world)(0).facts[BEYOND] == pytest.approx(beyond, rel=1e-4)


def test_counts_add_up_where_others_replace_a_group(world: Context) -> None:
    counts, direction = GroupTangent(world, GROUPS["two"], 0.25, "replaced", "two").count()
    assert counts[IDS].sum() == pytest.approx(8) and direction[IDS].sum() == pytest.approx(0, abs=1e-6)
    assert set(counts[GROUPS["two"]].tolist()) == {0.25} and set(direction[GROUPS["two"]].tolist()) == {1.0}
    counts, direction = GroupTangent(world, GROUPS["two"], 0.25, "empty", "two").count()
    assert counts[IDS].sum() == pytest.approx(8 - 3 * 0.75) and direction.sum() == 3


def test_a_group_that_nothing_can_replace_is_refused(world: Context) -> None:
    setup = MethodSetup(world.f1.load(), world.diffusion, world.data, 8, world.train, attributed={"all": IDS})
    METHOD.check(setup)
    with pytest.raises(UserError, match="'all' has all items"):
        replace(METHOD, removal="replaced").check(setup)


def test_an_output_that_says_nothing_of_leaving_a_group_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.output=pixels where its picture moves: leave .*=elbo, or"):
        replace(METHOD, output=PixelsOutput("pixels", 2))


def test_room_is_asked_for_what_is_missing(world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    METHOD.start(world)
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    METHOD.check_room(lambda: world, tmp_path)
    with pytest.raises(UserError, match=r"A training of F1 with its derivative takes .* lower method\.points"):
        replace(METHOD, points=2).check_room(lambda: world, tmp_path)


def test_what_is_computed_is_counted(world: Context) -> None:
    needs = replace(METHOD, points=3).work(world).needs
    assert [plan.key["stage"] for plan in needs] == ["metagradients"] + 4 * ["group_slopes"]
    tangents = [plan.cost().needs[-1] for plan in needs[1:]]
    assert [plan.key["config"]["weight"] for plan in tangents] == pytest.approx([0.645, 0.155, 0.645, 0.155], abs=1e-3)
    assert all(plan.cost().work.steps == world.count_steps() for plan in tangents)
