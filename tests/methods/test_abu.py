"""AbU against one backward pass per item and draw in bare PyTorch."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.methods import MethodSetup
from tdattr.methods.abu import AbU
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import keep
from tests.methods.plain import MLP, loss_of, training_levels
from tests.methods.shifts import IDS, PAIRS, SEED, World, dense

CONF = Path(__file__).parents[2] / "conf"
BATCH, DRAWS, EPOCHS, RATE, DAMPING = 4, 12, 2, 0.5, 0.3


def method(**changes: Any) -> AbU:
    """The YAML's method, made small; names with dots change values."""
    small = {"rate": RATE, "draws": DRAWS, "batch_size": BATCH, "score.pairs": PAIRS, "score.mirror": True}
    config = OmegaConf.load(CONF / "method" / "abu.yaml")
    for name, value in (small | {"fisher.epochs": EPOCHS, "fisher.damping": DAMPING} | changes).items():
        OmegaConf.update(config, name, value)
    return build(config, "method")


def gradient(network: nn.Module, *batch: Tensor) -> list[Tensor]:
    """Of the mean loss, by parameter; float64."""
    chosen = [network.get_parameter(name).requires_grad_(True) for name in MLP]
    found = torch.autograd.grad(loss_of(network, *batch).mean(), chosen)
    network.requires_grad_(False)
    return [value.double() for value in found]


def fisher(world: World, mirror: bool) -> list[Tensor]:
    """The mean over items, orientations and epochs of the squared gradient of an item's loss."""
    split, total, count = world.context.data.train, [torch.zeros(()).double()] * len(MLP), 0
    for epoch in range(EPOCHS):
        for side in range(1 + mirror):
            for item in IDS.tolist():
                pixels = split.pixels[item][:, ::-1] if side else split.pixels[item]
                x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
                rng = generator(SEED, "fisher", epoch, side, item)
                noised = training_levels(rng, 1), normal(rng, 1, 8, 8)[None]
                given = torch.from_numpy(np.array(split.conditions[item, :1]))  # type: ignore[index]
                found = gradient(world.f1, x, *noised, given)
                total = [sum_ + value**2 for sum_, value in zip(total, found, strict=True)]
                count += 1
    return [value / count for value in total]


def stepped(world: World, query: int, mirror: bool = True, damping: float = DAMPING) -> nn.Module:
    """F1 + rate / N · gradient / Fisher."""
    info = fisher(world, mirror)
    mean = sum(value.sum() for value in info) / sum(value.numel() for value in info)
    batches = []
    for index in range(DRAWS // BATCH):
        rng = generator(SEED, "ascent", query, index)
        batches.append((training_levels(rng, BATCH), normal(rng, BATCH, 1, 8, 8)))
    sigma, noise = (torch.cat(parts) for parts in zip(*batches, strict=True))
    x, given = world.context.queries.images[query].expand(DRAWS, -1, -1, -1), torch.eye(4)[query].expand(DRAWS, -1)
    network = deepcopy(world.f1)
    for name, ascent, known in zip(MLP, gradient(network, x, sigma, noise, given), info, strict=True):
        network.get_parameter(name).add_(RATE / len(IDS) * ascent / (known + damping * mean))
    return network


@pytest.mark.parametrize("mirror", [True, False])
def test_the_whole_against_plain_autograd(world: World, mirror: bool) -> None:
    small = method(**{"score.mirror": mirror})
    scorer = small.start(world.context)
    for query in (2, 0):
        scores = scorer(query).scores
        network = stepped(world, query, mirror)
        state, before = world.handed[-1].state_dict(), world.f1.state_dict()
        for name, value in network.state_dict().items():
            moved = float((value - before[name]).abs().max())
            torch.testing.assert_close(state[name], value, atol=1e-3 * moved, rtol=0)
            assert (moved > 0) == (name in MLP)
        expected = dense(world, network, query, small.score)
        assert scores.shape == (len(IDS),) and expected.std() > 1e-4
        torch.testing.assert_close(scores, expected, atol=1e-3 * float(expected.abs().max()), rtol=1e-3)


def test_without_damping_the_step_is_the_plain_quotient(world: World) -> None:
    method(**{"fisher.damping": 0.0}).start(world.context)(1)
    for name, value in stepped(world, 1, damping=0.0).state_dict().items():
        moved = (value - world.f1.state_dict()[name]).abs().max()
        assert torch.allclose(world.handed[-1].state_dict()[name], value, atol=1e-3 * float(moved), rtol=1e-3)


def test_scores_do_not_depend_on_the_batches(world: World) -> None:
    expected = method().start(world.context)(0).scores
    for number, sizes in enumerate(({"gradient_batch": 3, "scoring_batch": 7}, {"gradient_batch": 1000})):
        fresh = Store(world.store.root / str(number), "cpu")
        other = replace(
            world.context,
            trainer=replace(world.context.trainer, **sizes),
            plan=keep(fresh),
        )
        found = method().start(other)(0).scores
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)


def built(world: World, stage: str) -> int:
    """How many artifacts of that stage there are."""
    return sum(name.startswith(f"{stage}/") for name in world.store.built)


def test_the_fisher_information_is_computed_once(world: World) -> None:
    for changes in ({}, {"rate": 9.0}, {"fisher.damping": 1.0}, {"draws": 8}):
        scorer = method(**changes).start(world.context)
        scorer(0), scorer(1)
    assert built(world, "fisher") == 1
    assert built(world, "losses") == 4  # two orientations of two captions
    for count, changes in enumerate(({"score.mirror": False}, {"fisher.epochs": 1}, {"trainable": "block"}), 2):
        method(**changes).start(world.context)
        assert built(world, "fisher") == count


def test_orientations_count_only_where_the_training_saw_both() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for mirror in (True, False):
            config = compose("config", ["method=abu", f"train.mirror={mirror}"])
            assert build(config.method, "method").score.mirror is mirror


def test_what_cannot_work_is_refused(make_setup: Callable[..., MethodSetup]) -> None:
    method().check(make_setup(items=1))
    with pytest.raises(UserError, match=r"no part 'head'"):
        method(trainable="head").check_network(make_setup(items=1).network)
    with pytest.raises(UserError, match=r"method.draws=3 must be a multiple of method.batch_size="):
        method(draws=3)


def test_published_figures() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = build(compose("config", ["method=abu"]).method, "method")
    assert (config.rate, config.draws, config.fisher.epochs, config.fisher.damping) == (0.01, 50_000, 5, 0)
    score = config.score
    assert (score.pairs, score.levels, score.schedule_share) == (20, "generation", 1)
    assert (score.form, score.epsilon, score.consistent, score.captions) == ("difference", None, True, "all")
