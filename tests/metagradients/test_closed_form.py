"""Metagradients where they can be written down: a training of one step, and one that reaches its optimum."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import hessian, jacrev

from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.metagradients.backward import begin_at_end, step_back
from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import outline, parts
from tdattr.metagradients.step import Step
from tdattr.networks import NOTHING, Given, Network

ITEMS, INPUTS, EPSILON, RATE = 12, 3, 1.0, 0.3
ONES = torch.ones(ITEMS, dtype=torch.float64)


class Linear(Network):
    """One matrix and an intercept."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, INPUTS, dtype=torch.float64)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return self.layer(x)


@dataclass(frozen=True)
class Regression(EDM):
    """The squares of x are regressed on x, without noise."""

    def loss(self, network: Any, x: Tensor, level: Tensor, noise: Tensor, given: Given = NOTHING) -> Tensor:
        return (network(x, level, given) - x.square()).square().mean(1)


class WholeBatches:
    """Every batch holds every item, in order."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __getitem__(self, number: int) -> Batch:
        return self.batch

    def slots(self, number: int) -> np.ndarray:
        return np.arange(ITEMS)


class GivenBatches(Training):
    """A training of which only its batches are asked for."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches


def make(edm: EDM, tiny_train: Any, **changes: Any) -> tuple[Step, Training, Tensor]:
    """A step, the training, and the state before it."""
    torch.manual_seed(0)
    network = Linear()
    layout = outline(network)
    settings = {"schedule": "constant", "warmup_steps": 0, "clip": None, "epsilon": EPSILON, "learning_rate": RATE}
    config = tiny_train(**(settings | changes)).in_steps(ITEMS)
    x = torch.linalg.qr(torch.randn(ITEMS, INPUTS, dtype=torch.float64)).Q * ITEMS**0.5  # soon learnt
    training = GivenBatches(WholeBatches(Batch(x, torch.zeros(ITEMS), torch.zeros_like(x))))
    row = layout.join(dict(network.named_parameters()))
    state = torch.cat([row, torch.zeros_like(row), torch.zeros_like(row), row])
    return Step(network, layout, Regression(**vars(edm)), config, 0), training, state


def item_gradients(step: Step, batch: Batch, weights: Tensor) -> Tensor:
    """The gradient of every item's loss."""
    return jacrev(lambda values: step.losses(values, batch))(weights)


def go(step: Step, training: Training, state: Tensor, steps: int, output: Tensor) -> tuple[Tensor, Tensor]:
    """The last weights and the derivatives of an output of them, ``output`` by them, by what items count."""
    states = [state]
    for number in range(steps):
        states.append(step(states[-1], ONES, training.batches[number], number))
    after = begin_at_end(output[None], ITEMS, "raw")
    for number in reversed(range(steps)):
        after = step_back(step, training, states[number], number, after, None)
    return parts(states[-1])[0], after.items[0]


def test_one_step_moves_by_the_gradient_over_its_size(tiny_train, edm):
    step, training, state = make(edm, tiny_train, weight_decay=0.1)
    weights, *_ = parts(state)
    output = torch.randn_like(weights)
    _, found = go(step, training, state, 1, output)
    each = item_gradients(step, training.batches[0], weights)
    size = each.mean(0).abs() + EPSILON  # the first step of AdamW: the moments without their bias are the gradient's
    expected = -RATE * (each / ITEMS) @ (output * EPSILON / size.square())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_at_the_optimum_of_a_regression_it_is_the_influence_function(tiny_train, edm):
    step, training, state = make(edm, tiny_train, betas=[0.5, 0.99], learning_rate=1.0, weight_decay=0.0)
    output = torch.randn_like(parts(state)[0])
    weights, found = go(step, training, state, 120, output)
    batch = training.batches[0]
    each = item_gradients(step, batch, weights)
    assert each.mean(0).abs().max() < 1e-8 < 1e-2 < each.abs().max(), "the training has not reached its optimum"
    curvature = hessian(lambda values: step.losses(values, batch).mean())(weights)
    expected = -(each / ITEMS) @ torch.linalg.solve(curvature, output)  # Koh & Liang 2017, section 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_one_step_of_sgd_moves_by_the_gradient(tiny_train, edm):
    """With an epsilon that outweighs the gradient a step is one of SGD: rate / epsilon along it."""
    large = 1e9
    step, training, state = make(edm, tiny_train, epsilon=large, learning_rate=RATE * large, weight_decay=0.0)
    weights, *_ = parts(state)
    output = torch.randn_like(weights)
    _, found = go(step, training, state, 1, output)
    expected = -RATE * item_gradients(step, training.batches[0], weights) @ output / ITEMS
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-10)
