"""The part of the schedule that the training items choose, against a double loop over items."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tdattr.configs import build
from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context, schedule_share
from tdattr.methods.mucs import MUCS
from tdattr.methods.schedule_share import find_share, find_threshold, load_threshold, share_above, training_batches
from tdattr.methods.shift_noise import noise_set
from tdattr.training.batches import Batches
from tests.conftest import CONF
from tests.contexts import unused, with_queries
from tests.methods.plain import schedule
from tests.methods.shifts import IDS, SEED, World


def method(**changes: Any) -> MUCS:
    """The YAML's method, made small; names with dots change values."""
    config = OmegaConf.load(CONF / "method" / "mucs.yaml")
    small = {"null_loss.batches": 1, "null_loss.batch_size": 4, "unlearn.batch_size": 4, "unlearn.max_steps": 1}
    for name, value in (small | {"score.pairs": 20} | changes).items():
        OmegaConf.update(config, name, value)
    return build(config, "method")


def whole(context: Context) -> Context:
    """With all items."""
    return replace(context, ids=np.arange(48))


def threshold_of(context: Context, orders: list[np.ndarray]) -> float:
    """By a loop over the pairs of items."""
    x = np.array(context.data.train.pixels, np.float64).reshape(48, -1) / 127.5 - 1
    distances = []
    for number, ids in enumerate(orders):
        for item in ids:
            for other in np.concatenate([*orders[max(0, number - 3) : number], []]).astype(int):
                distances.append(np.sqrt(np.mean((x[item] - x[other]) ** 2)))
    return sorted(distances)[len(distances) * 5 // 100] / 2


def test_the_threshold_is_that_of_a_double_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    context = whole(world.context)
    size = context.train.batch_size
    monkeypatch.setattr(schedule_share, "BATCH_SIZE", size)
    trained = Batches(context.data.train, context.ids, context.diffusion, context.train, SEED)
    orders = [trained.slots(step) for step in range(48 // size)]
    assert len(orders) == 6
    for found, ids in zip(training_batches(context, size), orders, strict=True):  # as the training had them
        assert torch.equal(found, context.data.train.images(ids))
    expected = threshold_of(context, orders)
    assert load_threshold(context) == pytest.approx(expected, rel=1e-5)
    for pairs in (100, 7):
        levels = (80 ** (1 / 7) + np.arange(pairs) / (pairs - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        assert find_share(context, "auto", pairs) == pytest.approx((levels > expected).mean(), abs=1e-12)


def test_a_number_is_taken_as_it_is(world: World) -> None:
    assert find_share(replace(world.context, plan=unused), 0.3, 100) == 0.3


def test_the_last_batch_is_left_out_unless_it_is_whole_and_few_items_make_two(world: World) -> None:
    for count, sizes in ((20, [8, 8]), (24, [8, 8, 8]), (15, [7, 7]), (9, [4, 4]), (2, [1, 1])):
        batches = list(training_batches(replace(world.context, ids=np.arange(count)), 8))
        assert [len(batch) for batch in batches] == sizes
    with pytest.raises(UserError, match=r"schedule_share=auto compares training items .* at least two of them"):
        list(training_batches(replace(world.context, ids=np.arange(1)), 8))


def test_the_index_of_the_quantile_is_rounded_down() -> None:
    distances = np.random.default_rng(0).permutation(np.arange(1.0, 61.0)).astype(np.float32)
    assert find_threshold(distances) == 2.0  # half of the one with the index 3
    assert find_threshold(distances[distances < 60]) == 1.5  # 0.05 · 59 = 2.95


@pytest.mark.parametrize("name", ["edm", "vp", "ddpm", "flow"])
def test_levels_are_compared_by_their_ratio_of_noise_to_signal(name: str) -> None:
    config = OmegaConf.load(CONF / "diffusion" / f"{name}.yaml")
    if "c_noise" in config:
        config.c_noise = "log_sigma"
    diffusion: Diffusion = build(config, "diffusion")
    levels = diffusion.generation_levels(50)
    signal = diffusion.noised(torch.ones(50, 1), levels, torch.zeros(50, 1)).double()
    noise = diffusion.noised(torch.zeros(50, 1), levels, torch.ones(50, 1)).double()
    for threshold in (0.05, 0.3, 2.0):
        expected = float((noise > threshold * signal).double().mean())
        assert share_above(diffusion, 50, threshold) == pytest.approx(expected, abs=1e-12)
        assert 0 < expected < 1


def test_it_is_estimated_once_and_is_part_of_what_scores_depend_on(
    world: World, tiny_dit: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(whole(world.context), f0=lambda: tiny_dit(4))
    auto = method(**{"score.schedule_share": "auto", "unlearn.levels": "generation", "unlearn.schedule_share": "auto"})
    scored = auto.start(context)(0)
    method(**{"score.schedule_share": "auto", "score.pairs": 10}).start(context)(1)
    assert sum(name.startswith("threshold/") for name in world.store.built) == 1
    share = find_share(context, "auto", 20)
    assert scored.facts["schedule_share"] == share and 0 < share < 1
    torch.testing.assert_close(noise_set(context, auto.score).levels, schedule(int(20 / share), 20), rtol=1e-5, atol=0)
    fixed = method(**{"score.schedule_share": share, "unlearn.levels": "generation", "unlearn.schedule_share": share})
    losses = [name for name in world.store.built if name.startswith("losses/")]
    assert torch.equal(fixed.start(context)(0).scores, scored.scores)
    assert [name for name in world.store.built if name.startswith("losses/")] == losses  # the same table of F1
    assert len({str(other.describe()) for other in (auto, fixed, method())}) == 3
    load_threshold(replace(context, train=replace(context.train, batch_size=5)))
    assert sum(name.startswith("threshold/") for name in world.store.built) == 1
    monkeypatch.setattr(schedule_share, "BATCH_SIZE", 5)
    load_threshold(context)  # of other batches
    assert sum(name.startswith("threshold/") for name in world.store.built) == 2


def test_items_that_are_too_far_apart_are_refused(world: World) -> None:
    near = replace(world.context, diffusion=replace(world.context.diffusion, sigma_max=0.01))
    with pytest.raises(UserError, match=r"so far apart .* give method.score.schedule_share and .* as numbers"):
        find_share(near, "auto", 10)


def test_equal_items_leave_the_whole_schedule(world: World) -> None:
    train = world.context.data.train
    same = Split(np.array(train.pixels[:1]).repeat(48, 0), train.conditions, train.items)
    context = replace(world.context, data=replace(world.context.data, train=same), ids=np.sort(IDS))
    assert find_share(with_queries(context), "auto", 10) == 1
