"""Ensembles against ranks by SciPy, and the four of the paper."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from scipy.stats import rankdata

from tdattr.configs import build, walk
from tdattr.errors import UserError
from tdattr.methods import Context, Member, Method, MethodSetup, Scorer
from tdattr.methods.ensemble import Ensemble, rank
from tdattr.scores import Scores
from tdattr.seeding import generator, normal
from tests.contexts import IDS

CONF = Path(__file__).parents[2] / "conf"
PAPER = {  # MUCS Table 3
    "ensemble_a": {"mucs": 10, "das": 7, "dtrak": 6, "dino": 5, "clip": 5, "condition": 3, "forward_inf": 2},
    "ensemble_b": {"mucs": 10, "dino": 5, "clip": 5, "condition": 3},
    "ensemble_c": {"das": 7, "dtrak": 6, "dino": 5, "clip": 5, "condition": 3, "forward_inf": 2},
    "ensemble_d": {"dino": 5, "clip": 5, "condition": 3},
}


@dataclass(frozen=True)
class Choosy(Method):
    """A member that needs so many items."""

    name: str = "choosy"
    least: int = 1
    grid: list[float] | None = None
    decided: bool = False

    def settle(self, top: int | None, items: int) -> Method:
        return replace(self, decided=top is not None)

    @property
    def decides_top(self) -> bool:
        return self.decided

    @property
    def dampings(self) -> list[float] | None:
        return self.grid

    def check(self, setup: MethodSetup) -> None:
        if setup.items < self.least:
            raise UserError(f"needs {self.least}")

    def start(self, context: Context) -> Scorer:
        raise AssertionError


@dataclass(frozen=True)
class OfGroups(Choosy):
    """A method that scores groups."""

    scores_groups: ClassVar = True


def values(name: str, queries: int = 3) -> torch.Tensor:
    """Coarse scores, so that many are equal."""
    return (normal(generator(1, f"test.{name}"), queries, len(IDS)) * 1.5).round()


def world(context: Context, asked: list[str]) -> Context:
    """A context that notes which members are asked for."""

    def member(name: str) -> Member:
        asked.append(name)
        return Member(
            Scores(values(name), IDS), {"a": 2.0, "b": 0.5, "c": 1.0}[name], len(values(name)) * [{"steps": 3.0}]
        )

    return replace(context, member=member)


def ensemble(**weights: float) -> Ensemble:
    return Ensemble("ensemble", {name: Choosy() for name in ("a", "b", "c")}, weights)


def test_members_are_asked_for_every_score() -> None:
    found = Ensemble("both", {"choosy": Choosy()}, {"choosy": 1}).settle(20, 1000).uses()["choosy"]
    assert isinstance(found, Choosy) and not found.decides_top


def test_scores_are_the_inverse_of_weighted_rank(context: Context) -> None:
    asked: list[str] = []
    scorer = ensemble(a=10, b=0.5, c=3).start(world(context, asked))
    assert sorted(asked) == ["a", "b", "c"]
    for query in (2, 0):
        scored = scorer(query)
        places = {name: rankdata(-values(name)[query].numpy(), method="ordinal") for name in "abc"}
        expected = 1 / (10 * places["a"] + 0.5 * places["b"] + 3 * places["c"])
        np.testing.assert_allclose(scored.scores, expected, rtol=1e-12)
        assert scored.facts == {"member_seconds": 3.5, "a.steps": 3.0, "b.steps": 3.0, "c.steps": 3.0}
    assert len(asked) == 3


def test_members_are_warned_of_by_their_names_and_settings() -> None:
    facts = {"member_seconds": 3.5, "a.capped": 1.0, "b.capped": 0.0, "c.steps": 3.0}
    [said] = ensemble(a=10, b=0.5, c=3).warn(facts)
    assert said.startswith("a: The unlearning of 100%") and "ended at method.members.a.unlearn.max_steps" in said


def test_one_member_keeps_its_order_with_ties_in_the_order_of_the_ids(context: Context) -> None:
    scored = ensemble(b=7).start(world(context, []))(1)
    original = Scores(values("b"), IDS)
    assert len(values("b")[1].unique()) < len(IDS)
    top = Scores(scored.scores[None].float(), IDS).top(len(IDS))
    assert top[0].tolist() == original.top(len(IDS))[1].tolist()


def test_rank() -> None:
    scores = torch.tensor([0.5, 2.0, -1.0, 2.0, 0.5, 2.0])
    assert rank(scores).tolist() == [4, 1, 6, 2, 5, 3]
    assert rank(scores).dtype == torch.float64
    assert rank(torch.zeros(5)).tolist() == [1, 2, 3, 4, 5]


def test_a_member_of_weight_zero_is_never_asked_for(context: Context, make_setup: Callable[..., MethodSetup]) -> None:
    asked: list[str] = []
    members = {"a": Choosy(), "b": Choosy(least=1000, grid=[1.0]), "c": Choosy()}
    partial = Ensemble("ensemble", members, {"a": 1, "b": 0, "c": 0})
    partial.check(make_setup(items=8))
    partial.start(world(context, asked))(0)
    Ensemble("ensemble", members, {"c": 2}).start(world(context, asked))(0)  # nor is one without a weight
    assert asked == ["a", "c"]
    assert set(partial.uses()) == {"a"}


def test_it_is_described_by_the_members_that_are_computed() -> None:
    members = {"a": Choosy(), "b": Choosy(least=3), "c": OfGroups()}
    both, one = (Ensemble("ensemble", members, {"a": 1, "b": weight, "c": 0}) for weight in (2, 0))
    assert (set(both.describe()["members"]), both.describe()["weights"]) == ({"a", "b"}, {"a": 1, "b": 2})
    assert both.describe()["members"]["b"]["least"] == 3
    assert (set(one.describe()["members"]), one.describe()["weights"]) == ({"a"}, {"a": 1})
    assert [name for name, _ in walk(both)] == ["members.a", "members.b"]


def test_its_members_are_checked(make_setup: Callable[..., MethodSetup]) -> None:
    strict = Ensemble("ensemble", {"a": Choosy(), "b": Choosy(least=9)}, {"a": 1, "b": 1})
    strict.check(make_setup(items=9))
    with pytest.raises(UserError, match="needs 9"):
        strict.check(make_setup(items=8))


def test_bad_weights_are_refused() -> None:
    with pytest.raises(UserError, match=r"method.weights names 'd', which is none of method.members"):
        ensemble(a=1, d=1)
    for weights in ({}, {"a": 0}):
        with pytest.raises(UserError, match=r"method.weights must hold one above 0"):
            ensemble(**weights)
    with pytest.raises(UserError, match=r"method.members.b scores groups, an ensemble ranks training items"):
        Ensemble("ensemble", {"a": Choosy(), "b": OfGroups()}, {"a": 1, "b": 1})
    with pytest.raises(UserError, match=r"method.members.a.damping must be one value: grid is for protocol=lds"):
        Ensemble("ensemble", {"a": Choosy(grid=[1.0, 2.0])}, {"a": 1})


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides)).method


@pytest.mark.parametrize("name", PAPER)
def test_the_ensembles_of_the_paper(name: str) -> None:
    built = build(composed(f"method={name}"), "method")
    assert (built.name, built.weights, set(built.members)) == (name, PAPER[name], set(PAPER[name]))


@pytest.mark.parametrize("member", PAPER["ensemble_a"])
def test_a_member_is_the_method_of_that_name(member: str) -> None:
    for name, weights in PAPER.items():
        if member in weights:
            assert composed(f"method={name}").members[member] == composed(f"method={member}")


def test_a_weight_can_be_taken_away_and_a_member_changed() -> None:
    changes = ("method.weights.dino=0", "method.members.mucs.unlearn.weight=0.3")
    built = build(composed("method=ensemble_b", *changes), "method")
    assert set(built.uses()) == {"mucs", "clip", "condition"}
    assert built.members["mucs"].unlearn.weight == 0.3
