"""Flow matching against its formulas in double precision, and against the exact solution of its sampling ODE."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion import MAX_NOISE_WEIGHT
from tdattr.diffusion.flow import Flow
from tdattr.errors import UserError
from tdattr.methods.shift_noise import generation_part
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator, normal
from tests.diffusion.fakes import MEAN, SHAPE, VARIANCE, Recorder, clean_images, rngs, variant


@pytest.fixture(scope="module")
def flow() -> Flow:
    return variant("flow")


def time(c_noise: Tensor) -> Tensor:
    return ((c_noise.double() + 1) / 2)[:, None, None, None]


class Optimal(nn.Module):
    """The mean velocity E[n - x | x_t] where pixels are distributed as N(MEAN, VARIANCE)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.device = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        self.calls += 1
        t = time(c_noise)
        excess = (x.double() - (1 - t) * MEAN) / ((1 - t) ** 2 * VARIANCE + t**2)
        return (t * excess - (MEAN + (1 - t) * VARIANCE * excess)).float()


class Knowing(nn.Module):
    """Knows the clean image, and so the straight line to it from any point."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = nn.Parameter(clean)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return ((x - self.clean) / time(c_noise)).float()  # n - x = (x_t - x) / t


def test_loss_follows_the_paper(flow: Flow) -> None:
    rng = np.random.default_rng(0)
    x, noise, answer = (rng.standard_normal((5, *SHAPE)) for _ in range(3))
    t = np.array([0.0, 0.01, 0.5, 0.99, 1.0])
    network = Recorder(torch.from_numpy(answer).float())
    losses = flow.loss(network, *(torch.from_numpy(v).float() for v in (x, t, noise)))
    seen = network.seen[0]
    s = t[:, None, None, None]
    np.testing.assert_allclose(seen[0], (1 - s) * x + s * noise, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[1], 2 * t - 1, atol=1e-6)
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses, ((answer - (noise - x)) ** 2).mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("levels", ["uniform", "logit_normal"])
def test_no_few_draws_are_all_of_a_loss_towards_another_noise(flow: Flow, levels: str) -> None:
    drawn = replace(flow, levels=levels).training_levels(generator(0, "levels"), 100_000)
    weights = flow.noise_weight(torch.cat([drawn, torch.ones(1)])).double().sort(descending=True).values
    assert weights[0] == MAX_NOISE_WEIGHT
    assert weights[:10].sum() / weights.sum() < 2e-3
    few = torch.tensor([0.0, 0.5, 0.9 - 1e-6])
    torch.testing.assert_close(flow.noise_weight(few), (1 - few) ** -2)


def test_generation_levels(flow: Flow) -> None:
    assert flow.generation_levels(4).tolist() == [1.0, 0.75, 0.5, 0.25]
    levels = flow.generation_levels(142)
    np.testing.assert_allclose(levels, 1 - np.arange(142) / 142, rtol=1e-6)
    assert levels.min() > 0
    assert torch.equal(generation_part(flow, 100, 0.7), levels[:100])


def test_uniform_training_levels(flow: Flow) -> None:
    levels = flow.training_levels(generator(0, "levels"), 40_000)
    assert levels.dtype == torch.float32
    counts = np.histogram(levels, bins=20, range=(0, 1))[0]
    assert counts.sum() == 40_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # chi-squared of 19 degrees of freedom, p = 0.001


def test_logit_normal_training_levels(flow: Flow) -> None:
    config = replace(flow, levels="logit_normal", logit_mean=-0.5, logit_std=0.8)
    levels = config.training_levels(generator(0, "levels"), 40_000).double()
    assert 0 < levels.min() < levels.max() < 1
    logits = (levels / (1 - levels)).log()
    assert abs(logits.mean() + 0.5) < 4 * 0.8 / 200
    assert abs(logits.std() - 0.8) < 4 * 0.8 / (2 * 40_000) ** 0.5
    assert abs((logits > 0.3).double().mean() - 0.15866) < 4 * (0.159 * 0.841 / 40_000) ** 0.5  # one deviation up


@pytest.mark.parametrize(
    ("sampler", "steps", "most", "low", "high"), [("euler", 64, 0.06, 1.7, 2.3), ("heun", 32, 0.01, 3, 5)]
)
def test_samplers_solve_the_ode_of_gaussian_data(
    flow: Flow, sampler: str, steps: int, most: float, low: float, high: float
) -> None:
    start = torch.stack([normal(rng, *SHAPE) for rng in rngs(50)]).double()
    exact = MEAN + VARIANCE**0.5 * start  # x_t - (1 - t) MEAN stays the same number of deviations
    errors = {}
    for count in (steps, 2 * steps):
        images = replace(flow, sampler=sampler, steps=count).sample(Optimal(), rngs(50), SHAPE)
        errors[count] = float((images - exact).abs().max() / exact.abs().max())
    assert images.mean() == pytest.approx(MEAN, abs=0.02)
    assert images.std() == pytest.approx(VARIANCE**0.5, rel=0.04)
    assert errors[steps] < most
    assert low < errors[steps] / errors[2 * steps] < high


@pytest.mark.parametrize(("sampler", "calls"), [("euler", 5), ("heun", 9)])
def test_straight_lines_are_followed_exactly(flow: Flow, sampler: str, calls: int) -> None:
    clean = clean_images(4)
    config = replace(flow, sampler=sampler, steps=5)
    torch.testing.assert_close(config.sample(Knowing(clean), rngs(4), SHAPE), clean, atol=1e-5, rtol=0)
    network = Optimal()
    config.sample(network, rngs(1), SHAPE)
    assert network.calls == calls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": "cosine"}, r"^diffusion.levels=cosine is unknown: choose uniform or logit_normal\.$"),
        ({"sampler": "ddim"}, r"^diffusion.sampler=ddim is unknown: choose euler or heun\.$"),
        ({"steps": 0}, "diffusion.steps=0"),
        ({"logit_std": 0.0}, "diffusion.logit_std=0.0"),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        variant("flow", **change)
