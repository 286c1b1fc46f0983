"""The score of unlearning methods against a loop over items, orientations, captions and pairs."""

from copy import deepcopy
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.configs import typed
from tdattr.data.prepared import Split
from tdattr.errors import UserError
from tdattr.methods.loss_shift import shift_scorer
from tdattr.methods.shift_config import ShiftConfig
from tdattr.methods.shift_noise import deal_levels, own_noise
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.plain import loss_of, schedule
from tests.methods.shifts import IDS, ITEMS, PAIRS, World, dense, noise


def config(**changes: Any) -> ShiftConfig:
    """MUCS's, with null where a value would have no effect."""
    if changes.get("form", "skew") != "skew":
        changes["epsilon"] = None
    if changes.get("levels", "generation") != "generation":
        changes["schedule_share"] = None
    return replace(
        ShiftConfig(PAIRS, "generation", 0.7, "skew", True, "all", 1e-3, False, "first", "all", 4.0, PAIRS), **changes
    )


@pytest.fixture
def unlearned(world: World) -> nn.Module:
    """A network near F1."""
    network = deepcopy(world.f1)
    rng = generator(0, "test.unlearned")
    for parameter in network.parameters():
        parameter += 0.02 * normal(rng, *parameter.shape)
    return network


@pytest.mark.parametrize(
    ("levels", "form", "consistent"),
    product(("generation", "discrete", "training"), ("skew", "difference", "absolute"), (True, False)),
)
def test_scores_are_those_of_a_plain_loop(
    world: World, unlearned: nn.Module, levels: str, form: str, consistent: bool
) -> None:
    found = []
    for mirror, captions in product((False, True), ("first", "all")):
        wanted = config(levels=levels, form=form, consistent=consistent, mirror=mirror, captions=captions)
        found.append(shift_scorer(world.context, wanted)(unlearned, 2).scores)
        expected = dense(world, unlearned, 2, wanted)
        torch.testing.assert_close(found[-1], expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)
    wins = found[2] > found[0]  # of the mirror images
    assert (found[2] >= found[0]).all() and (not consistent or 0 < int(wins.sum()) < len(IDS))


@pytest.mark.parametrize(
    ("levels", "form", "kept"), product(("generation", "training"), ("skew", "absolute"), ("all", "moved"))
)
def test_a_race_without_any_doubt_evaluates_everything(
    world: World, unlearned: nn.Module, levels: str, form: str, kept: str
) -> None:
    context = replace(world.context, top=2)
    for mirror, captions in product((False, True), ("first",) if form == "absolute" else ("first", "all")):
        wanted = config(levels=levels, form=form, kept=kept, mirror=mirror, captions=captions)
        expected = shift_scorer(context, wanted)(unlearned, 2).scores
        rows = len(IDS) * (1 + mirror) * (1 + (captions == "all"))
        for choice in ({"allocation": "racing", "doubt": 1e9}, {"allocation": "importance"}):
            found = shift_scorer(context, replace(wanted, **choice))(unlearned, 2)
            torch.testing.assert_close(found.scores, expected, atol=1e-6, rtol=1e-4)
            assert found.standard_errors is not None and (found.standard_errors == 0).all()
            assert kept == "moved" or found.facts["evaluations"] == rows * PAIRS


def test_a_race_names_the_same_items_from_fewer_losses(world: World, unlearned: nn.Module) -> None:
    context = replace(world.context, ids=np.arange(ITEMS), top=4)
    expected = shift_scorer(context, config())(unlearned, 2).scores
    found = shift_scorer(context, config(allocation="racing", doubt=3.0))(unlearned, 2)
    assert set(found.scores.topk(4).indices.tolist()) == set(expected.topk(4).indices.tolist())
    assert found.standard_errors is not None and found.facts["evaluations"] < ITEMS * PAIRS
    complete = found.standard_errors == 0
    torch.testing.assert_close(found.scores[complete], expected[complete], atol=1e-6, rtol=1e-4)
    assert complete[found.scores.topk(8).indices].all() and not complete.all()


@pytest.mark.parametrize(("allocation", "kept"), product(("racing", "importance"), ("all", "moved")))
def test_what_is_complete_is_exact_whatever_side_and_caption(
    world: World, unlearned: nn.Module, allocation: str, kept: str
) -> None:
    context = replace(world.context, ids=np.arange(ITEMS), top=4)
    wanted = config(kept=kept, mirror=True, captions="all", schedule_share=1.0)
    expected = shift_scorer(context, wanted)(unlearned, 2).scores
    found = shift_scorer(context, replace(wanted, allocation=allocation, doubt=0.3, pairs_each=2))(unlearned, 2)
    assert found.standard_errors is not None
    complete = found.standard_errors == 0
    assert 0 < complete.sum() < ITEMS
    torch.testing.assert_close(found.scores[complete], expected[complete], atol=1e-6, rtol=1e-4)
    rough = (found.scores - expected)[~complete].abs() / found.standard_errors[~complete]
    assert 0.1 < rough.square().mean().sqrt() < 5
    if allocation == "importance" and kept == "all":
        complete_rows = 32  # of 2 sides of 48 items
        assert found.facts["evaluations"] == 2 * (96 * 2 + complete_rows * (PAIRS - 2))


@pytest.mark.parametrize("form", ["skew", "difference"])
def test_moved_pairs_are_those_that_moved_the_query_at_least_as_far_as_on_average(
    world: World, unlearned: nn.Module, form: str
) -> None:
    wanted = config(form=form, kept="moved", schedule_share=1.0)
    score = shift_scorer(world.context, wanted)
    chosen = []
    for query in range(4):
        x, given = world.context.queries.images[query].expand(PAIRS, -1, -1, -1), torch.eye(4)[query].expand(PAIRS, -1)
        with torch.no_grad():
            before, after = (loss_of(model, x, *noise(wanted, 0, 0), given) for model in (world.f1, unlearned))
        own = (after - before) / (after + before + 1e-3 if form == "skew" else 1)
        chosen.append(own >= own.mean())
        expected = dense(world, unlearned, query, wanted, chosen[-1])
        torch.testing.assert_close(score(unlearned, query).scores, expected, atol=1e-5, rtol=1e-4)
        assert 0 < int(chosen[-1].sum()) < PAIRS
    assert len({tuple(mask.tolist()) for mask in chosen}) > 1


def test_equal_items_have_equal_scores_only_with_the_same_noise(world: World, unlearned: nn.Module) -> None:
    train = world.context.data.train
    pixels, conditions = np.array(train.pixels), np.array(train.conditions)
    pixels[3], conditions[3] = pixels[40], conditions[40]  # the first two columns
    context = replace(world.context, data=replace(world.context.data, train=Split(pixels, conditions, train.items)))
    for levels in ("generation", "discrete", "training"):
        own = shift_scorer(context, config(levels=levels, consistent=False))
        for network in (world.f1, unlearned):
            same = shift_scorer(context, config(levels=levels))(network, 0).scores
            torch.testing.assert_close(same[0], same[1])
            assert (own(network, 0).scores[0] - own(network, 0).scores[1]).abs() > 1e-4
        assert (same == 0).all() == (network is world.f1)
        assert (
            own(world.f1, 0).scores - own(world.f1, 1).scores
        ).abs().min() > 0  # other noise than F1's, and for every query


@pytest.mark.parametrize("consistent", [True, False])
def test_neither_the_batch_nor_the_other_items_matter(world: World, unlearned: nn.Module, consistent: bool) -> None:
    wanted = config(consistent=consistent, mirror=True)
    expected = shift_scorer(world.context, wanted)(unlearned, 1).scores

    def found(number: int, **changes: Any) -> Tensor:
        fresh = Store(world.store.root / str(number), "cpu")
        other = replace(world.context, **changes, plan=keep(fresh))
        return shift_scorer(other, wanted)(unlearned, 1).scores

    for size in (1, 7, 1000):
        trainer = replace(world.context.trainer, scoring_batch=size)
        torch.testing.assert_close(found(size, trainer=trainer), expected, atol=1e-6, rtol=1e-4)
    places = [5, 0, 2]
    torch.testing.assert_close(found(3, ids=IDS[places]), expected[places], atol=1e-6, rtol=1e-4)


def test_what_f1_is_asked_for_is_computed_once(world: World) -> None:
    same = ({}, {"form": "difference"}, {"form": "absolute"}, {"epsilon": 0.5}, {"kept": "moved"})
    for changes in same:
        shift_scorer(world.context, config(**changes))
    assert world.store.built == [world.store.built[0]]
    other = (
        {"consistent": False},
        {"levels": "training"},
        {"levels": "discrete"},
        {"schedule_share": 1.0},
        {"mirror": True},
    )
    for count, changes in enumerate((*other, {"captions": "all"}, {"levels": "training", "consistent": False}), 2):
        shift_scorer(world.context, config(**changes))
        assert len(world.store.built) == count


def test_bad_values_are_refused() -> None:
    choices = {
        "levels": "generation, discrete or training",
        "form": "skew, difference or absolute",
        "kept": "all or moved",
        "captions": "first or all",
        "allocation": "auto, all, racing or importance",
    }
    for key, words in choices.items():
        with pytest.raises(UserError, match=rf"^method.score.{key}=odd is unknown: choose {words}.$"):
            typed(ShiftConfig, asdict(config()) | {key: "odd"}, "method.score")
    with pytest.raises(UserError, match=r"kept=moved needs method.score.consistent=true"):
        config(kept="moved", consistent=False)
    for allocation in ("racing", "importance"):
        with pytest.raises(UserError, match=rf"allocation={allocation} needs method.score.consistent=true"):
            config(allocation=allocation, consistent=False)
        with pytest.raises(UserError, match=r"takes one caption of an item: set method.score.captions=first"):
            config(allocation=allocation, form="absolute", captions="all")
    with pytest.raises(UserError, match=rf"pairs_each={PAIRS + 1} must be at most method.score.pairs={PAIRS}"):
        config(allocation="importance", pairs_each=PAIRS + 1)


def test_a_value_without_an_effect_is_refused_and_one_that_is_needed_asked_for() -> None:
    good = asdict(config())
    for changes, words in (
        ({"levels": "training"}, r"schedule_share=0.7 has no effect with method.score.levels=training: set it to null"),
        ({"schedule_share": None}, r"schedule_share must be a number, or auto, with method.score.levels=generation"),
        ({"schedule_share": 1.5}, r"schedule_share=1.5 must be above 0 and at most 1, or null, or auto"),
        ({"form": "difference"}, r"epsilon=0.001 has no effect with method.score.form=difference: set it to null"),
        ({"form": "absolute"}, r"epsilon=0.001 has no effect with method.score.form=absolute: set it to null"),
        ({"epsilon": None}, r"epsilon must be a number above 0 with method.score.form=skew"),
    ):
        with pytest.raises(UserError, match=rf"^method\.score\.{words}"):
            typed(ShiftConfig, good | changes, "method.score")
    assert typed(ShiftConfig, good | {"schedule_share": "auto"}, "method.score").schedule_share == "auto"
    with pytest.raises(UserError, match=r"^method\.score\.schedule_share: .*it may also be auto\.$"):
        typed(ShiftConfig, good | {"schedule_share": "most"}, "method.score")


def test_fresh_levels_are_dealt_from_one_schedule(world: World) -> None:
    items = len(world.context.data.train)
    dealt = deal_levels(world.context, 0.7, PAIRS)
    assert dealt.shape == (items, PAIRS)
    whole = schedule(int(items * PAIRS / 0.7), items * PAIRS)
    torch.testing.assert_close(dealt.flatten().sort(descending=True).values, whole, rtol=1e-4, atol=0)  # each once
    for part, column in zip(whole.split(items), dealt.T, strict=True):  # and one of every part for each item
        torch.testing.assert_close(column.sort(descending=True).values, part, rtol=1e-4, atol=0)
    turns = dealt[:, 0].argsort(descending=True)
    assert not torch.equal(turns, torch.arange(items))  # levels do not follow the ids
    draw = own_noise(world.context, config(consistent=False))
    ids, pairs = np.array([40, 40, 3]), np.array([0, 1, 0])
    (first, noise), (second, other) = (draw(model).take(ids, pairs) for model in (0, 1))
    assert torch.equal(first, second) and not (noise == other).any()  # of a model are the noise images, not the levels
    assert torch.equal(first, torch.stack([dealt[40, 0], dealt[40, 1], dealt[3, 0]]))


def test_an_absolute_shift_is_that_of_the_mean(world: World, unlearned: nn.Module) -> None:
    for consistent in (True, False):
        signed, absolute = (
            shift_scorer(world.context, config(form=form, consistent=consistent))(unlearned, 0).scores
            for form in ("difference", "absolute")
        )
        torch.testing.assert_close(absolute, signed.abs())
        assert (signed < 0).any() and (signed > 0).any()
