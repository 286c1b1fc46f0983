"""Where an unlearning begins that has a head start, against trainings in which the group counts less."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tdattr.errors import UserError
from tdattr.metagradients import room
from tdattr.methods import Context, MethodSetup, guda
from tdattr.methods.group_tangents import GroupTangent
from tdattr.methods.guda import GUDA
from tdattr.methods.shapley import Shapley
from tdattr.methods.weighted_training import train_weighted
from tdattr.networks import Network
from tdattr.scoring.elbo import ElboConfig
from tdattr.store import Store
from tdattr.unlearning.objectives.gradient_ascent import GradientAscent
from tests.contexts import IDS, NoCounterfactuals, keep
from tests.methods.unlearning import UNLEARN

ELBO = ElboConfig(t_min=10, t_max=None, stride=300, timesteps=1000, draws=2, importance=None)
METHOD = GUDA("guda", GradientAscent("gradient_ascent", 0.06), UNLEARN, None, False, ELBO)
GROUPS = {"one": IDS[:2], "two": IDS[2:5]}


@pytest.fixture
def make_world(make_smooth_world: Callable[..., Context]) -> Callable[[str], Context]:
    """What makes a context with groups, whose training retraining follows step by step."""

    def make(removal: str) -> Context:
        made = make_smooth_world(coupled=True, removal=removal)
        return replace(made, counterfactuals=NoCounterfactuals(METHOD.needs, groups=lambda: GROUPS))

    return make


@pytest.fixture
def world(make_world: Callable[[str], Context]) -> Context:
    """One where others stand in the places of a group."""
    return make_world("replaced")


def start(far: float) -> GUDA:
    return replace(METHOD, unlearn=replace(UNLEARN, head_start=far))


def weigh(network: Network) -> torch.Tensor:
    """The weights as a row."""
    return torch.cat([value.detach().flatten() for value in network.parameters()])


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights that every unlearning has begun with."""
    seen: list[torch.Tensor] = []

    def note(network: Network, objective: Any, context: Any, config: Any, *others: Any) -> list[dict[str, float]]:
        assert all(value.requires_grad for value in network.parameters())
        seen.append(weigh(network))
        others[2](config.length)  # keep
        return [{"step": 0.0}]

    monkeypatch.setattr(guda, "unlearn_group", note)
    return seen


@pytest.mark.parametrize("removal", ["replaced", "empty"])
def test_it_begins_near_the_training_in_which_the_group_counts_less(
    removal: Any, make_world: Callable[[str], Context], begun: list[torch.Tensor], tmp_path: Path
) -> None:
    """A twentieth less: the error of the first order is small beside what changes."""
    world = make_world(removal)
    start(0.05).start(world)
    assert len(begun) == len(GROUPS)
    for row, (name, ids) in zip(begun, GROUPS.items(), strict=True):
        (tmp_path / name).mkdir()
        counts, _ = GroupTangent(world, ids, 0.95, removal, name).count()
        real, f1 = weigh(train_weighted(world, counts, tmp_path / name)), weigh(world.f1.load())
        assert 0 < (row - real).norm() < 0.2 * (f1 - real).norm()


def test_without_one_it_begins_with_f1_at_the_address_that_it_had(world: Context, begun: list[torch.Tensor]) -> None:
    METHOD.start(world)
    assert all(torch.equal(row, weigh(world.f1.load())) for row in begun)
    plain, started, further = ([model.plan for model in start(far).unlearned(world)] for far in (0.0, 0.5, 1.0))
    assert len({plan.address for plan in [*plain, *started, *further]}) == 6
    assert not any("head_start" in str(plan.key) or "start" in plan.key["config"] for plan in plain)
    assert [plan.key["config"]["start"] for plan in started] == [plan.key["config"]["start"] for plan in further]


def test_the_training_is_part_of_the_work_and_is_shared_by_all_head_starts(
    world: Context, begun: list[torch.Tensor]
) -> None:
    def trained() -> list[str]:
        costs = [model.cost() for model in start(1.0).unlearned(world)]
        return [plan.key["stage"] for cost in costs for plan in cost.needs]

    assert trained().count("group_tangent") == 2
    facts = [method.start(world)(0).facts["training_steps"] for method in (METHOD, start(0.5))]
    assert facts == [2 * 4, 2 * 4 + 2 * 4 * world.count_steps()]
    tangents = [model.tangent.plan for model in start(1.0).unlearned(world)]
    assert all(plan.finished for plan in tangents)


def test_a_training_that_was_not_repeated_is_told_of(
    world: Context, begun: list[torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins with F1 nonetheless, moved along the derivative of the other training."""
    start(0.5).start(world)
    assert "differ from F1's" not in caplog.text
    plan = keep(Store(tmp_path / "other", "cpu"))
    other = replace(world, train=replace(world.train, coupled=False), plan=plan)
    tangent = GroupTangent(other, GROUPS["one"], 1.0, "replaced", "one")
    moved = weigh(tangent.extrapolate(1e-6))
    assert "The training of F1, repeated here, ends at weights that differ from F1's" in caplog.text
    assert 0 < (moved - weigh(world.f1.load())).norm() < 1e-3


def test_a_derivative_that_is_not_finite_is_refused(world: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupTangent, "read", lambda self: ({"tangent": torch.tensor([torch.inf])}, None))
    with pytest.raises(UserError, match=r"what one counts is not finite, as the training .*: raise train\.epsilon"):
        GroupTangent(world, GROUPS["one"], 1.0, "replaced", "one").extrapolate(1.0)


def test_it_must_be_possible_and_fit(world: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = MethodSetup(world.f1.load(), world.diffusion, world.data, 8, world.train, groups=GROUPS)
    METHOD.check(replace(setup, trained=False))
    with pytest.raises(UserError, match=r"^method\.unlearn\.head_start repeats the training of F1, but"):
        start(1.0).check(replace(setup, trained=False))
    monkeypatch.setattr(room, "find_free_memory", lambda device: 0)
    METHOD.check_room(lambda: world, tmp_path)
    shapley = Shapley("shapley", 2, METHOD.objective, start(1.0).unlearn, None, False, ELBO)
    for method in (start(1.0), shapley):
        with pytest.raises(UserError, match=r"with its derivative takes .* set method\.unlearn\.head_start=0"):
            method.check_room(lambda: world, tmp_path)
