"""Forward-INF against Adam in bare PyTorch."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.methods import MethodSetup
from tdattr.methods.forward_inf import ForwardINF
from tdattr.seeding import generator, normal
from tests.contexts import with_queries
from tests.methods.plain import MLP, loss_of, training_levels
from tests.methods.shifts import IDS, PAIRS, SEED, World, dense

YAML = Path(__file__).parents[2] / "conf" / "method" / "forward_inf.yaml"
BATCH = 6


def method(**changes: Any) -> ForwardINF:
    """The YAML's method, made small; names with dots change values."""
    config = OmegaConf.load(YAML)
    for name, value in ({"batch_size": BATCH, "score.pairs": PAIRS} | changes).items():
        OmegaConf.update(config, name, value)
    return build(config, "method")


def batch(world: World, query: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Copies of the query, each at its own noise."""
    rng = generator(SEED, "ascent", query, step)
    sigma, noise = training_levels(rng, BATCH), normal(rng, BATCH, 1, 8, 8)
    x, condition = world.context.queries.x[query], torch.eye(4)[query]
    return torch.stack([x] * BATCH), sigma, noise, torch.stack([condition] * BATCH)


def ascended(world: World, query: int, steps: int, names: tuple[str, ...] | None = None) -> nn.Module:
    """A copy of F1 after Adam has raised the loss of the query."""
    network = deepcopy(world.f1)
    chosen = [p.requires_grad_(True) for name, p in network.named_parameters() if names is None or name in names]
    optimizer = torch.optim.Adam(chosen, lr=5e-3)
    for step in range(steps):
        optimizer.zero_grad()
        (-loss_of(network, *batch(world, query, step)).mean()).backward()
        optimizer.step()
    return network.requires_grad_(False)


@pytest.mark.parametrize(("steps", "part"), [(1, "all"), (3, "all"), (3, "mlp")])
def test_the_whole_against_a_plain_loop(world: World, steps: int, part: str) -> None:
    small = method(steps=steps, trainable=part)
    scorer = small.start(world.context)
    for query in (3, 0):
        scored = scorer(query)
        network = ascended(world, query, steps, MLP if part == "mlp" else None)
        expected = dense(world, network, query, small.score)
        assert scored.scores.shape == (len(IDS),) and scored.scores.std() > 1e-3
        torch.testing.assert_close(scored.scores, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)
        assert loss_of(network, *batch(world, query, 0)).mean() > loss_of(world.f1, *batch(world, query, 0)).mean()
        for name, value in network.state_dict().items():
            torch.testing.assert_close(world.handed[-1].state_dict()[name], value, atol=1e-4, rtol=1e-3)


def test_consistent_noise_is_a_choice(world: World) -> None:
    small = method(**{"score.consistent": True, "score.levels": "generation", "score.schedule_share": 0.7})
    expected = dense(world, ascended(world, 1, 1), 1, small.score)
    torch.testing.assert_close(small.start(world.context)(1).scores, expected, atol=1e-4, rtol=1e-3)


def test_every_query_starts_from_f1_which_is_left_alone(world: World) -> None:
    before = deepcopy(world.f1.state_dict())
    scorer = method().start(world.context)
    in_order = [scorer(query).scores for query in range(3)]
    assert torch.equal(method().start(world.context)(2).scores, in_order[2])
    assert (in_order[0] - in_order[1]).abs().max() > 1e-4
    assert all(torch.equal(value, before[name]) for name, value in world.f1.state_dict().items())
    assert len(world.store.built) == 1  # F1's losses


def test_it_serves_unconditional_data(world: World, tiny_dit: Callable[..., nn.Module]) -> None:
    bare = replace(world.context.data, train=replace(world.context.data.train, conditions=None))
    network = tiny_dit(0, spread=0.1).requires_grad_(False)
    f1 = Trained("unconditional", lambda: deepcopy(network))
    alone = replace(with_queries(world.context, conditions=None), data=bare, f1=f1)
    scores = method(**{"score.captions": "all"}).start(alone)(0).scores
    assert scores.shape == (len(IDS),) and np.isfinite(scores).all()


def test_what_cannot_work_is_refused(make_setup: Callable[..., MethodSetup]) -> None:
    method().check(make_setup(items=1))
    with pytest.raises(UserError, match=r"no part 'head'"):
        method(trainable="head").check_network(make_setup(items=1).network)


def test_published_figures() -> None:
    config = build(OmegaConf.load(YAML), "method")
    assert (config.steps, config.batch_size, config.learning_rate, config.trainable) == (1, 100, 5e-3, "all")
    score = config.score
    assert (score.pairs, score.levels, score.form, score.consistent) == (100, "training", "difference", False)
    assert (score.kept, score.mirror, score.captions) == ("all", False, "first")
    assert score.schedule_share is None and score.epsilon is None
