"""The score of unlearning methods against a loop over items, orientations, captions and pairs."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.artifacts import Store
from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.methods import Context
from tdattr.methods.loss_shift import ShiftConfig, shift_scorer
from tdattr.seeding import generator, normal
from tests.methods.test_baselines import context, unused
from tests.methods.test_mucs import loss_of

__all__ = ["context"]  # a fixture
SEED, PAIRS, POINTS = 11, 5, 7  # the schedule has 7 points, of which the first 5 are used
IDS = np.array([40, 3, 17, 8, 0, 47, 21])  # neither sorted nor without gaps


def config(**changes: Any) -> ShiftConfig:
    return replace(ShiftConfig(PAIRS, "generation", 0.7, "skew", True, "all", 1e-3, False, "first"), **changes)


@dataclass(frozen=True)
class World:
    """A context with a store, the network that it hands out copies of, and those copies."""

    context: Context
    f1: nn.Module
    store: Store
    handed: list[nn.Module]


@pytest.fixture
def world(context: Context, tiny_data: Prepared, tiny_dit: Callable[..., nn.Module], edm: EDM, tmp_path: Path) -> World:
    """Every item has two captions; dropout must not be used."""
    known = np.array(tiny_data.train.conditions)
    captions = np.concatenate([known, 0.5 * np.roll(known, 1, axis=2)], axis=1)
    data = replace(tiny_data, train=replace(tiny_data.train, conditions=captions))
    f1 = tiny_dit(4, spread=0.1, dropout=0.2).requires_grad_(False)
    store, handed = Store(tmp_path / "store", "cpu"), []

    def copy() -> nn.Module:
        handed.append(deepcopy(f1))
        return handed[-1]

    def shared(stage: str, version: int, config: Any, make: Callable[[Path], None]) -> Path:
        return store.get(stage, version, config, {}, make).folder

    changes = {"data": data, "ids": IDS, "f1": copy, "f0": unused, "seed": SEED, "shared": shared}
    return World(replace(context, **changes, conditions=torch.eye(4)), f1, store, handed)


@pytest.fixture
def unlearned(world: World) -> nn.Module:
    """A network near F1."""
    network = deepcopy(world.f1)
    rng = generator(0, "test.unlearned")
    for parameter in network.parameters():
        parameter += 0.02 * normal(rng, *parameter.shape)
    return network


def schedule(points: int, pairs: int) -> Tensor:
    ramp = torch.arange(pairs) / (points - 1)
    return (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7


def training_levels(rng: np.random.Generator, count: int) -> Tensor:
    return (normal(rng, count) * 1.2 - 1.2).exp()


def noise(wanted: ShiftConfig, model: int, item: int) -> tuple[Tensor, Tensor]:
    """Levels and noise images: the same for all, or of an item under F1 (0) or after a query (1 + its number)."""
    rng = generator(SEED, "mucs.score") if wanted.consistent else generator(SEED, "score.own", model, item)
    if wanted.levels == "training":
        sigma = training_levels(rng, PAIRS)
    elif wanted.consistent:
        sigma = schedule({0.7: POINTS, 1.0: PAIRS}[wanted.schedule_share], PAIRS)
    else:
        sigma = schedule(POINTS, PAIRS)[rng.integers(PAIRS, size=PAIRS)]
    return sigma, normal(rng, PAIRS, 1, 8, 8)


def dense(world: World, network: nn.Module, query: int, wanted: ShiftConfig, kept: Any = slice(None)) -> Tensor:
    """The scores, one item at a time; ``kept``: the pairs that count."""
    split, scores = world.context.data.train, []
    for item in world.context.ids.tolist():
        sides = []
        for pixels in [split.pixels[item], split.pixels[item][:, ::-1]][: 1 + wanted.mirror]:
            x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).expand(PAIRS, -1, -1, -1) / 127.5 - 1
            moved = []
            for caption in (0, 1) if wanted.captions == "all" else (0,):
                given = torch.from_numpy(np.array(split.conditions[item, caption])).expand(PAIRS, -1)
                before = loss_of(world.f1, x, *noise(wanted, 0, item), given)[kept].double()
                after = loss_of(network, x, *noise(wanted, 1 + query, item), given)[kept].double()
                if not wanted.consistent:
                    before, after = before.mean(0), after.mean(0)
                moved.append(((after - before) / (after + before + 1e-3 if wanted.form == "skew" else 1)).mean().item())
            sides.append(sum(moved) / len(moved))
        scores.append(max(sides))
    return torch.tensor(scores)


@pytest.mark.parametrize(
    ("levels", "form", "consistent"), product(("generation", "training"), ("skew", "difference"), (True, False))
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
        x, given = world.context.images[query].expand(PAIRS, -1, -1, -1), torch.eye(4)[query].expand(PAIRS, -1)
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
    for levels in ("generation", "training"):
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
        other = replace(world.context, **changes, shared=lambda *key: fresh.get(*key[:3], {}, key[3]).folder)
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
    other = ({"consistent": False}, {"levels": "training"}, {"schedule_share": 1.0}, {"mirror": True})
    for count, changes in enumerate((*other, {"captions": "all"}, {"levels": "training", "consistent": False}), 2):
        shift_scorer(world.context, config(**changes))
        assert len(world.store.built) == count


def test_bad_values_are_refused() -> None:
    for key, words in (("levels", "generation, training"), ("form", "skew"), ("kept", "moved"), ("captions", "all")):
        with pytest.raises(UserError, match=rf"method.score.{key}=odd is unknown: choose one of .*{words}"):
            config(**{key: "odd"})
    with pytest.raises(UserError, match=r"method.score.pairs=0 must be at least 1"):
        config(pairs=0)
    with pytest.raises(UserError, match=r"kept=moved needs method.score.consistent=true"):
        config(kept="moved", consistent=False)
