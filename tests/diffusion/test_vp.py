"""VP against its formulas in double precision, and against the exact solution of its sampling ODE."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from tdattr.codecs.pixels import Pixels
from tdattr.diffusion.vp import VP
from tdattr.errors import UserError
from tdattr.seeding import generator, normal
from tests.diffusion.fakes import MEAN, SHAPE, VARIANCE, GaussianVP, Recorder, rngs, variant


@pytest.fixture(scope="module")
def vp() -> VP:
    return variant("vp")


def schedule(t: np.ndarray) -> np.ndarray:
    """Karras et al. 2022, Table 1, written out once more."""
    return np.sqrt(np.exp(0.5 * 19.9 * t**2 + 0.1 * t) - 1)


def test_schedule_and_its_inverse(vp: VP) -> None:
    t = np.array([1e-5, 1e-3, 0.1, 0.5, 1.0])
    found = vp.sigma(torch.from_numpy(t))
    np.testing.assert_allclose(found, schedule(t), rtol=1e-8)
    assert found[-1] == pytest.approx(152.17, abs=0.01)
    np.testing.assert_allclose(vp.time(found), t, rtol=1e-8)
    np.testing.assert_allclose(vp.time(found.float()), t, rtol=1e-4)


@pytest.mark.parametrize("told", ["log_sigma", "timestep"])
def test_preconditioning_and_loss_follow_the_paper(vp: VP, told: str) -> None:
    rng = np.random.default_rng(0)
    x, noise, answer = (rng.standard_normal((5, *SHAPE)) for _ in range(3))
    t = np.array([1e-5, 0.01, 0.2, 0.6, 1.0])
    sigma = schedule(t)
    network = Recorder(torch.from_numpy(answer).float())
    losses = replace(vp, c_noise=told).loss(network, *(torch.from_numpy(v).float() for v in (x, sigma, noise)))

    s = sigma[:, None, None, None]
    noised = x + s * noise
    seen = network.seen[0]
    np.testing.assert_allclose(seen[0], noised / np.sqrt(s**2 + 1), rtol=1e-4, atol=1e-6)
    c_noise = 999 * t if told == "timestep" else np.log(sigma) / 4
    np.testing.assert_allclose(seen[1], c_noise, rtol=1e-4)
    denoised = 1 * noised - s * answer  # c_skip and c_out
    expected = 1 / sigma**2 * ((denoised - x) ** 2).mean((1, 2, 3))
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_c_noise_lies_where_the_fourier_features_resolve_it(vp: VP) -> None:
    network = Recorder(torch.zeros(2, *SHAPE))
    vp.loss(network, torch.zeros(2, *SHAPE), vp.sigma(torch.tensor([1e-5, 1.0])).float(), torch.zeros(2, *SHAPE))
    c_noise = network.seen[0][1]
    np.testing.assert_allclose(c_noise, [-1.727, 1.256], atol=1e-3)


def test_a_network_that_says_nothing_has_loss_one(vp: VP) -> None:
    noise = torch.tensor([1.0, 1, -1, -1]).repeat(16).reshape(1, *SHAPE).repeat(4, 1, 1, 1)
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    losses = vp.loss(Recorder(torch.zeros(4, *SHAPE)), x, vp.generation_levels(4), noise)
    torch.testing.assert_close(losses, torch.ones(4))


def test_generation_levels(vp: VP) -> None:
    levels = vp.generation_levels(128)
    np.testing.assert_allclose(levels, schedule(1 + np.arange(128) / 127 * (1e-3 - 1)), rtol=1e-5)
    assert (levels.diff() < 0).all()
    assert vp.generation_levels(1).tolist() == [levels[0]]


def test_training_levels_are_uniform_in_t(vp: VP) -> None:
    levels = vp.training_levels(generator(0, "levels"), 40_000)
    assert levels.dtype == torch.float32
    assert schedule(np.array(1e-5)) * 0.999 <= levels.min()
    assert levels.max() <= schedule(np.array(1.0)) * 1.001
    counts = np.histogram(vp.time(levels.double()), bins=20, range=(0, 1))[0]
    assert counts.sum() == 40_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # chi-squared of 19 degrees of freedom, p = 0.001


def test_euler_solves_the_ode_of_gaussian_data_to_first_order(vp: VP) -> None:
    start = torch.stack([normal(rng, *SHAPE) for rng in rngs(50)]).double()
    top = float(schedule(np.array(1.0)))
    # x - MEAN grows with the deviation of the noised data, sqrt(VARIANCE + sigma^2)
    exact = MEAN + (start * top - MEAN) * (VARIANCE / (VARIANCE + top**2)) ** 0.5
    errors = {}
    for steps in (128, 256, 512):
        images = replace(vp, steps=steps).sample(GaussianVP(), rngs(50), SHAPE)
        errors[steps] = float((images - exact).abs().max() / exact.abs().max())
        if steps == 128:
            assert images.mean() == pytest.approx(MEAN, abs=0.02)
            assert images.std() == pytest.approx(VARIANCE**0.5, rel=0.1)
    assert errors[512] < 0.03
    assert 1.6 < errors[256] / errors[512] < 2.4


def test_euler_agrees_with_the_ode_of_the_paper_in_double_precision(vp: VP) -> None:
    """Eq. 4 in its general form: dx/dt = (sigma'/sigma + s'/s) x - sigma' s / sigma * D(x / s; sigma)."""
    steps = 16
    times = np.append(1 + np.arange(steps) / (steps - 1) * (1e-3 - 1), 0.0)
    x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)]).double().numpy()
    x *= schedule(times[0]) / np.sqrt(schedule(times[0]) ** 2 + 1)
    for now, after in pairwise(times):
        sigma, h = schedule(now), 1e-6 * now
        scale = 1 / np.sqrt(sigma**2 + 1)
        dsigma = (schedule(now + h) - schedule(now - h)) / (2 * h)
        dscale = (1 / np.sqrt(schedule(now + h) ** 2 + 1) - 1 / np.sqrt(schedule(now - h) ** 2 + 1)) / (2 * h)
        denoised = (VARIANCE * x / scale + sigma**2 * MEAN) / (VARIANCE + sigma**2)
        slope = (dsigma / sigma + dscale / scale) * x - dsigma * scale / sigma * denoised
        x = x + (after - now) * slope
    network = GaussianVP()
    images = replace(vp, steps=steps).sample(network, rngs(3), SHAPE)
    np.testing.assert_allclose(Pixels("pixels").decode(images), np.clip(x, -1, 1), atol=1e-4)
    assert network.calls == steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_noise": "sigma"}, r"diffusion.c_noise=sigma is unknown: choose log_sigma or timestep"),
        ({"epsilon_training": 0.0}, "diffusion.epsilon_training=0.0 must be above 0 and below 1"),
        ({"epsilon_sampling": 1.0}, "diffusion.epsilon_sampling=1.0 must be above 0 and below 1"),
        ({"timesteps": 1}, "diffusion.timesteps=1 must be at least 2"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        variant("vp", **change)


def test_published_figures(vp: VP) -> None:
    assert (vp.beta_d, vp.beta_min, vp.timesteps) == (19.9, 0.1, 1000)
    assert (vp.epsilon_training, vp.epsilon_sampling, vp.steps) == (1e-5, 1e-3, 128)
