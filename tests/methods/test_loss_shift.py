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
from tdattr.methods.loss_shift import ShiftConfig, shift_scorer
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.plain import loss_of
from tests.methods.shifts import IDS, PAIRS, World, dense, noise


def config(**changes: Any) -> ShiftConfig:
    return replace(ShiftConfig(PAIRS, "generation", 0.7, "skew", True, "all", 1e-3, False, "first"), **changes)


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
    product(("generation", "discrete", "training"), ("skew", "difference"), (True, False)),
)
def test_scores_are_those_of_a_plain_loop(
    world: World, unlearned: nn.Module, levels: str, form: str, consistent: bool
) -> None:
    found = []
    for mirror, captions in product((False, True), ("first", "all")):
        wanted = config(levels=levels, form=form, consistent=consistent, mirror=mirror, captions=captions)
        found.append(shift_scorer(world.context, wanted)(unlearned, 2))
        expected = dense(world, unlearned, 2, wanted)
        torch.testing.assert_close(found[-1], expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)
    assert 0 < int((found[2] > found[0]).sum()) < len(IDS)  # each orientation wins somewhere


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
        torch.testing.assert_close(score(unlearned, query), expected, atol=1e-5, rtol=1e-4)
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
            same = shift_scorer(context, config(levels=levels))(network, 0)
            torch.testing.assert_close(same[0], same[1])
            assert (own(network, 0)[0] - own(network, 0)[1]).abs() > 1e-4
        assert (same == 0).all() == (network is world.f1)
        assert (own(world.f1, 0) - own(world.f1, 1)).abs().min() > 0  # other noise than F1's, and for every query


@pytest.mark.parametrize("consistent", [True, False])
def test_neither_the_batch_nor_the_other_items_matter(world: World, unlearned: nn.Module, consistent: bool) -> None:
    wanted = config(consistent=consistent, mirror=True)
    expected = shift_scorer(world.context, wanted)(unlearned, 1)

    def found(number: int, **changes: Any) -> Tensor:
        fresh = Store(world.store.root / str(number), "cpu")
        other = replace(world.context, **changes, plan=keep(fresh))
        return shift_scorer(other, wanted)(unlearned, 1)

    for size in (1, 7, 1000):
        trainer = replace(world.context.trainer, scoring_batch=size)
        torch.testing.assert_close(found(size, trainer=trainer), expected, atol=1e-6, rtol=1e-4)
    places = [5, 0, 2]
    torch.testing.assert_close(found(3, ids=IDS[places]), expected[places], atol=1e-6, rtol=1e-4)


def test_what_f1_is_asked_for_is_computed_once(world: World) -> None:
    same = ({}, {"form": "difference"}, {"epsilon": 0.5}, {"kept": "moved"})
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
        "form": "skew or difference",
        "kept": "all or moved",
        "captions": "first or all",
    }
    for key, words in choices.items():
        with pytest.raises(UserError, match=rf"^method.score.{key}=odd is unknown: choose {words}.$"):
            typed(ShiftConfig, asdict(config()) | {key: "odd"}, "method.score")
    with pytest.raises(UserError, match=r"method.score.pairs=0 must be at least 1"):
        config(pairs=0)
    with pytest.raises(UserError, match=r"kept=moved needs method.score.consistent=true"):
        config(kept="moved", consistent=False)
