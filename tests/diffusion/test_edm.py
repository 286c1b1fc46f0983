"""EDM against its formulas in double precision, and against the exact solution of its sampling ODE."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.codecs.pixels import Pixels
from tdattr.diffusion.edm import EDM
from tdattr.methods.shift_noise import generation_part
from tdattr.networks import Given
from tdattr.seeding import generator, normal
from tests.diffusion.fakes import SHAPE, Recorder, rngs


class Optimal(nn.Module):
    """The ideal network for pixels distributed as N(0, variance): the ideal denoiser, its preconditioning undone."""

    def __init__(self, edm: EDM, variance: float) -> None:
        super().__init__()
        self.edm, self.variance = edm, variance
        self.calls = 0
        self.device = nn.Parameter(torch.zeros(()))

    def forward(self, scaled: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.calls += 1
        s = (4 * c_noise.double()).exp()[:, None, None, None]
        sd = self.edm.sigma_data
        x = scaled.double() * (s**2 + sd**2).sqrt()
        ideal = self.variance / (self.variance + s**2) * x
        return ((ideal - sd**2 / (s**2 + sd**2) * x) / (s * sd / (s**2 + sd**2).sqrt())).float()


def test_preconditioning_and_loss_follow_the_paper(edm: EDM) -> None:
    rng = np.random.default_rng(0)
    x, noise, answer = (rng.standard_normal((5, *SHAPE)) for _ in range(3))
    sigma = np.array([0.002, 0.05, 0.5, 3.0, 80.0])
    network = Recorder(torch.from_numpy(answer).float())
    losses = edm.loss(network, *(torch.from_numpy(v).float() for v in (x, sigma, noise)))

    s, sd = sigma[:, None, None, None], 0.5
    noised = x + s * noise
    seen = network.seen[0]
    np.testing.assert_allclose(seen[0], noised / np.sqrt(s**2 + sd**2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[1], np.log(sigma) / 4, rtol=1e-5)
    denoised = sd**2 / (s**2 + sd**2) * noised + s * sd / np.sqrt(s**2 + sd**2) * answer
    weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    expected = weight * ((denoised - x) ** 2).mean((1, 2, 3))
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses[1:], expected[1:], rtol=1e-4)
    np.testing.assert_allclose(losses[0], expected[0], rtol=1e-2)  # float32 cancels what is 5 digits below the pixels


def test_weight_makes_the_loss_of_a_zero_network_level_when_the_data_have_sigma_data(edm: EDM) -> None:
    x = torch.tensor([-0.5, 0.5]).repeat(32).reshape(1, *SHAPE).repeat(4, 1, 1, 1)  # mean square 0.25
    sigma = torch.tensor([0.05, 0.5, 5.0, 50.0])
    noise = torch.tensor([1.0, 1, -1, -1]).repeat(16).reshape(1, *SHAPE).repeat(4, 1, 1, 1)  # uncorrelated with x
    losses = edm.loss(Recorder(torch.zeros(4, *SHAPE)), x, sigma, noise)
    torch.testing.assert_close(losses, torch.ones(4), rtol=1e-3, atol=0)


def test_generation_levels(edm: EDM) -> None:
    levels = edm.generation_levels(32)
    i = np.arange(32)
    expected = (80 ** (1 / 7) + i / 31 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels, expected, rtol=1e-5)
    assert levels[0] == 80
    assert abs(levels[-1] - 0.002) < 1e-8
    assert (levels.diff() < 0).all()


def test_mucs_scores_at_the_first_100_of_142_levels(edm: EDM) -> None:
    levels = generation_part(edm, 100, 0.7)
    assert levels.shape == (100,)
    assert torch.equal(levels, edm.generation_levels(142)[:100])
    assert levels[0] == 80
    assert levels[-1] == pytest.approx(0.31023, abs=1e-5)


def test_training_levels_are_lognormal(edm: EDM) -> None:
    logs = edm.training_levels(generator(0, "levels"), 40_000).double().log()
    assert abs(logs.mean() + 1.2) < 4 * 1.2 / 200
    assert abs(logs.std() - 1.2) < 4 * 1.2 / (2 * 40_000) ** 0.5
    assert abs((logs > 0).double().mean() - 0.15866) < 4 * (0.159 * 0.841 / 40_000) ** 0.5  # one deviation up


def test_heun_solves_the_ode_of_gaussian_data_to_second_order(edm: EDM) -> None:
    variance = 0.04  # not sigma_data^2; four deviations fit into [-1, 1]
    start = torch.stack([normal(rng, *SHAPE) for rng in rngs(50)]).double()
    exact = start * 80 * (variance / (variance + 80**2)) ** 0.5  # dx/ds = x s / (variance + s^2) from 80 down to 0
    errors = {}
    for steps in (32, 64):
        images = replace(edm, steps=steps).sample(Optimal(edm, variance), rngs(50), SHAPE)
        errors[steps] = float((images - exact).abs().max() / exact.abs().max())
    assert images.std() == pytest.approx(0.2, rel=0.04)
    assert abs(images.mean()) < 0.02
    assert errors[32] < 0.025
    assert 3.5 < errors[32] / errors[64] < 5


def test_heun_agrees_with_a_scalar_solver_in_double_precision(edm: EDM) -> None:
    levels = [float((80 ** (1 / 7) + i / 31 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7) for i in range(32)]
    gain = 80.0
    for now, after in pairwise(levels):
        slope = gain * now / (0.04 + now**2)
        ahead = gain + (after - now) * slope
        gain += (after - now) * (slope + ahead * after / (0.04 + after**2)) / 2
    gain -= levels[-1] * gain * levels[-1] / (0.04 + levels[-1] ** 2)  # Euler for the step to zero
    start = torch.stack([normal(rng, *SHAPE) for rng in rngs(4)])
    images = edm.sample(Optimal(edm, 0.04), rngs(4), SHAPE)
    torch.testing.assert_close(Pixels("pixels").decode(images), (gain * start).clamp(-1, 1), atol=1e-4, rtol=0)


def test_two_evaluations_per_step_except_the_last(edm: EDM) -> None:
    network = Optimal(edm, 0.04)
    replace(edm, steps=5).sample(network, rngs(1), SHAPE)
    assert network.calls == 9


def test_images_stay_in_range_once_they_are_decoded(edm: EDM) -> None:
    x = replace(edm, steps=8).sample(Optimal(edm, 4.0), rngs(4), SHAPE)
    assert x.min() < -1 and x.max() > 1
    images = Pixels("pixels").decode(x)
    assert images.min() == -1
    assert images.max() == 1
