"""TracIn along a training: against a plain loop in double precision, and against a step of gradient descent."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.metagradients.state import find_weights
from tdattr.methods import Context, MethodSetup
from tdattr.methods.repeated_training import REPLAY
from tdattr.methods.tracin_training import TracInTraining
from tdattr.methods.weighted_training import load_weights, open_training
from tdattr.networks import Given
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.projection import ProjectionConfig
from tdattr.store import Store
from tests.contexts import keep

GRADIENTS = GradientConfig("loss", 6, "training", False, "all", ProjectionConfig("none", 8, 1))
METHOD = TracInTraining("tracin_training", GRADIENTS, 3)
STEPS = 7
MakeWorld = Callable[..., Context]


@pytest.fixture
def make_world(
    make_trained_world: Callable[..., Context],
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Any,
    tiny_trainer: Any,
    tmp_path: Path,
) -> MakeWorld:
    """What makes a context whose F1 has been trained; names change the training."""

    def make(gradient_batch: int = 16, ids: Any = None, dropout: float = 0.0, **changes: Any) -> Context:
        return make_trained_world(
            tiny_train(**({"steps": STEPS, "epsilon": 1e-3} | changes)),
            lambda: tiny_dit(4, spread=0.05, dropout=dropout),
            np.arange(48) if ids is None else ids,
            trainer=tiny_trainer(gradient_batch=gradient_batch),
            conditions=torch.eye(4),
            plan=keep(Store(tmp_path / f"store {gradient_batch}", "cpu")),
        )

    return make


def score(method: TracInTraining, world: Context) -> Tensor:
    """The scores of all queries."""
    scorer = method.start(world)
    scored = [scorer(query) for query in range(4)]
    assert all(each.facts[REPLAY] == 0 for each in scored)
    return torch.stack([each.scores for each in scored])


def gradient(network: nn.Module, world: Context, names: list[str], *inputs: Any) -> Tensor:
    """That of the mean of some losses, in a row."""
    loss = world.diffusion.loss(network, *inputs).mean()
    found = torch.autograd.grad(loss, [network.get_parameter(name) for name in names], materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


def double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def queries_of(world: Context, network: nn.Module, method: TracInTraining, names: list[str]) -> Tensor:
    """The gradients of the queries' losses, draw by draw."""
    noise = method.gradients.noise_set(world.diffusion, (1, 8, 8), world.seed)
    rows = []
    for x, condition in zip(world.queries.x.double(), world.queries.conditions.double(), strict=True):
        draws = []
        for level, unit in zip(noise.levels.double(), noise.noise.double(), strict=True):
            given = Given(condition[None])
            draws.append(gradient(network, world, names, x[None], level[None], unit[None], given))
        if method.gradients.normalise:
            draws = [draw / draw.norm() for draw in draws]
        rows.append(torch.stack(draws).mean(0))
    return torch.stack(rows)


def plainly(method: TracInTraining, world: Context) -> Tensor:
    """Step by step, item by item, in double precision."""
    training, layout = open_training(world)
    config = training.batches.config
    states = list(training.states(layout, 0, config.total_steps, None))
    names = training.network.parameter_names(method.gradients.parameters)
    scores = torch.zeros(4, len(world.data.train), dtype=torch.float64)
    bounds = [number * config.total_steps // method.checkpoints for number in range(method.checkpoints + 1)]
    for step in range(config.total_steps):
        segment = next(number for number, end in enumerate(bounds[1:]) if step < end)
        at = (bounds[segment] + bounds[segment + 1]) // 2
        network = load_weights(world.initial(), layout, find_weights(states[at], "raw")).double().requires_grad_(True)
        rows = queries_of(world, network, method, names)
        batch = training.batches[step].apply(double)
        rate = config.learning_rate * min(1, (step + 1) / config.warmup_steps)
        for slot, item in enumerate(training.batches.slots(step)):
            cell = batch[slice(slot, slot + 1)]
            row = gradient(network, world, names, *cell.inputs)
            if method.gradients.normalise:
                row = row / row.norm()
            count = 1 if batch.counts is None else batch.counts[slot]
            scores[:, item] += count * rate / config.batch_size * (rows @ row)
    return scores[:, world.ids]


SETTINGS: dict[str, tuple[TracInTraining, dict[str, Any]]] = {
    "plain": (METHOD, {}),
    "mirrored": (METHOD, {"mirror": True}),
    "with dropout, which gradients leave out": (METHOD, {"dropout": 0.2}),
    "ReTrac": (replace(METHOD, gradients=replace(GRADIENTS, normalise=True)), {}),
    "a part": (replace(METHOD, gradients=replace(GRADIENTS, parameters="mlp")), {}),
    "every step": (replace(METHOD, checkpoints=STEPS), {}),
    "empty places": (METHOD, {"coupled": True, "removal": "empty", "ids": np.setdiff1d(np.arange(48), [3, 20])}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_scores_are_those_of_a_plain_loop(name: str, make_world: MakeWorld) -> None:
    method, changes = SETTINGS[name]
    world = make_world(**changes)
    found, expected = score(method, world), plainly(method, world)
    assert found.shape == expected.shape and expected.abs().amax(1).min() > 0
    torch.testing.assert_close(found.double() / expected.std(), expected / expected.std(), atol=1e-4, rtol=1e-4)


def test_what_training_augments_is_differentiated_augmented(
    make_world: MakeWorld, augmentation: Callable[..., Any]
) -> None:
    world = make_world(augmentation=augmentation(probability=0.5))
    found, expected = score(METHOD, world), plainly(METHOD, world)
    torch.testing.assert_close(found.double() / expected.std(), expected / expected.std(), atol=1e-4, rtol=1e-4)


def test_of_one_step_scores_are_what_a_step_of_descent_on_the_item_does(make_world: MakeWorld) -> None:
    world = make_world(steps=1, warmup_steps=1, condition_dropout=0.0)
    found = score(replace(METHOD, checkpoints=1), world)
    training, layout = open_training(world)
    config, batch = training.batches.config, training.batches[0].apply(double)
    slots = training.batches.slots(0)
    noise = METHOD.gradients.noise_set(world.diffusion, (1, 8, 8), world.seed)

    def losses(nudge: float, slot: int) -> Tensor:
        """The queries' losses after so much of a step on an item."""
        network = world.initial().double()
        cell = batch[slice(slot, slot + 1)]
        change = layout.split(gradient(network, world, list(layout.names), *cell.inputs))
        with torch.no_grad():
            for name, value in change.items():
                network.get_parameter(name).sub_(nudge * config.learning_rate / config.batch_size * value)
            levels, units = (value.double().repeat_interleave(4, 0) for value in (noise.levels, noise.noise))
            x, conditions = (
                value.double().repeat(len(noise.levels), *[1] * (value.ndim - 1))
                for value in (world.queries.x, world.queries.conditions)
            )
            return world.diffusion.loss(network, x, levels, units, Given(conditions)).view(-1, 4).mean(0)

    for slot, item in enumerate(slots):
        expected = -(losses(0.01, slot) - losses(-0.01, slot)) / 0.02
        torch.testing.assert_close(found[:, item].double(), expected, rtol=1e-3, atol=1e-3 * float(found.abs().max()))
    assert not found[:, np.setdiff1d(np.arange(48), slots)].any()


def test_scores_do_not_depend_on_how_many_gradients_are_computed_at_a_time(make_world: MakeWorld) -> None:
    few, many = (score(METHOD, make_world(gradient_batch=size)) for size in (3, 64))
    torch.testing.assert_close(few / many.std(), many / many.std(), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_is_refused(make_world: MakeWorld) -> None:
    world = make_world()
    setup = MethodSetup(world.f1.load(), world.diffusion, world.data, 48, world.train)
    METHOD.check(setup)
    with pytest.raises(UserError, match="tracin_training repeats the training of F1, but F1 was not trained here"):
        METHOD.check(replace(setup, trained=False))
    with pytest.raises(UserError, match="has 7 steps: set method.checkpoints to as many at most"):
        replace(METHOD, checkpoints=8).check(setup)
    with pytest.raises(UserError, match="leave method.gradients.projection.kind=none"):
        replace(METHOD, gradients=replace(GRADIENTS, projection=ProjectionConfig("sparse", 8, 1)))


def test_a_training_that_was_not_repeated_is_told_of(
    make_world: MakeWorld, tiny_dit: Callable[..., nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    other = tiny_dit(4, spread=0.1).requires_grad_(False)
    scored = METHOD.start(replace(make_world(), f1=Trained("other", lambda: other)))(0)
    assert scored.facts[REPLAY] > 1e-3 and "ends at weights that differ from F1's" in caplog.text


def test_what_is_computed_is_counted(make_world: MakeWorld) -> None:
    (plan,) = METHOD.work(make_world()).needs
    work = plan.cost().work
    assert (work.steps, work.gradients) == (STEPS, STEPS * 8 + 3 * 4 * 6)
