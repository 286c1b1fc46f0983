"""EDM against its formulas in double precision, and against the exact solution of its sampling ODE."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion.edm import EDM
from tdattr.methods.loss_shift import generation_part
from tdattr.seeding import generator, normal

SHAPE = (1, 8, 8)


class Recorder(nn.Module):
    """Keeps what it is called with and answers a fixed image."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer, requires_grad=False)
        self.seen: list[tuple[Tensor | None, ...]] = []

    def forward(self, *arguments: Tensor | None) -> Tensor:
        self.seen.append(arguments)
        return self.answer


class Optimal(nn.Module):
    """The ideal network for pixels distributed as N(0, variance): the ideal denoiser, its preconditioning undone."""

    def __init__(self, edm: EDM, variance: float) -> None:
        super().__init__()
        self.edm, self.variance = edm, variance
        self.calls = 0
        self.device = nn.Parameter(torch.zeros(()))

    def forward(self, scaled: Tensor, code: Tensor, condition: Tensor | None = None) -> Tensor:
        self.calls += 1
        s = (4 * code.double()).exp()[:, None, None, None]
        sd = self.edm.sigma_data
        x = scaled.double() * (s**2 + sd**2).sqrt()
        ideal = self.variance / (self.variance + s**2) * x
        return ((ideal - sd**2 / (s**2 + sd**2) * x) / (s * sd / (s**2 + sd**2).sqrt())).float()


def rngs(count: int, first: int = 0) -> list[np.random.Generator]:
    return [generator(7, "query", first + number) for number in range(count)]


def test_preconditioning_and_loss_follow_the_paper(edm: EDM) -> None:
    rng = np.random.default_rng(0)
    x, noise, answer = (rng.standard_normal((5, *SHAPE)) for _ in range(3))
    sigma = np.array([0.002, 0.05, 0.5, 3.0, 80.0])
    network = Recorder(torch.from_numpy(answer).float())
    losses = edm.loss(network, *(torch.from_numpy(v).float() for v in (x, sigma, noise)))

    s, sd = sigma[:, None, None, None], 0.5
    noised = x + s * noise
    seen = network.seen[0]
    assert isinstance(seen[0], Tensor)
    assert isinstance(seen[1], Tensor)
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


def test_condition_drop_and_augmentation_reach_the_network(edm: EDM) -> None:
    network = Recorder(torch.zeros(2, *SHAPE))
    extra = (torch.ones(2, 4), torch.tensor([True, False]), torch.ones(2, 2))
    edm.loss(network, torch.zeros(2, *SHAPE), torch.ones(2), torch.zeros(2, *SHAPE), *extra)
    assert all(given is seen for given, seen in zip(extra, network.seen[0][2:], strict=True))


def test_losses_are_per_item(edm: EDM, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.2)
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.rand(6, *SHAPE, generator=rng), torch.randn(6, *SHAPE, generator=rng)
    sigma, condition = torch.logspace(-2, 1, 6), torch.randn(6, 4, generator=rng)
    together = edm.loss(network, x, sigma, noise, condition)
    alone = [edm.loss(network, *(v[i : i + 1] for v in (x, sigma, noise, condition))) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


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


def test_training_levels_are_lognormal_and_a_function_of_the_generator(edm: EDM) -> None:
    logs = edm.training_levels(generator(0, "levels"), 40_000).double().log()
    assert abs(logs.mean() + 1.2) < 4 * 1.2 / 200
    assert abs(logs.std() - 1.2) < 4 * 1.2 / (2 * 40_000) ** 0.5
    assert abs((logs > 0).double().mean() - 0.15866) < 4 * (0.159 * 0.841 / 40_000) ** 0.5  # one deviation up
    first, second = (edm.training_levels(generator(5, "levels"), 8) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, edm.training_levels(generator(6, "levels"), 8))


def test_heun_solves_the_ode_of_gaussian_data_to_second_order(edm: EDM) -> None:
    variance = 0.04  # not sigma_data^2; four deviations fit into [-1, 1]
    start = torch.stack([normal(rng, *SHAPE) for rng in rngs(50)]).double()
    exact = start * 80 * (variance / (variance + 80**2)) ** 0.5  # dx/ds = x s / (variance + s^2) from 80 down to 0
    errors = {}
    for steps in (32, 64):
        images = replace(edm, steps=steps).sample(Optimal(edm, variance), rngs(50), SHAPE, None, None)
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
    images = edm.sample(Optimal(edm, 0.04), rngs(4), SHAPE, None, None)
    torch.testing.assert_close(images, (gain * start).clamp(-1, 1), atol=1e-4, rtol=0)


def test_two_evaluations_per_step_except_the_last(edm: EDM) -> None:
    network = Optimal(edm, 0.04)
    replace(edm, steps=5).sample(network, rngs(1), SHAPE, None, None)
    assert network.calls == 9


def test_images_stay_in_range(edm: EDM) -> None:
    images = replace(edm, steps=8).sample(Optimal(edm, 4.0), rngs(4), SHAPE, None, None)
    assert images.min() == -1
    assert images.max() == 1


@pytest.mark.parametrize("guidance", [None, 2.0])
def test_same_seed_same_picture_whatever_the_batch(
    edm: EDM, tiny_dit: Callable[..., nn.Module], guidance: float | None
) -> None:
    network, sampler = tiny_dit(4, spread=0.1), replace(edm, steps=6)
    condition = torch.eye(4)
    with torch.inference_mode():
        together = sampler.sample(network, rngs(4), SHAPE, condition, guidance)
        alone = [sampler.sample(network, rngs(1, i), SHAPE, condition[i : i + 1], guidance) for i in range(4)]
        reverse = sampler.sample(network, rngs(4)[::-1], SHAPE, condition.flip(0), guidance)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, reverse.flip(0), atol=1e-4, rtol=0)
    assert torch.pdist(together.flatten(1)).min() > 1e-2


def test_guidance_and_condition_reach_the_picture(edm: EDM, tiny_dit: Callable[..., nn.Module]) -> None:
    network, sampler = tiny_dit(4, spread=0.1), replace(edm, steps=6)
    first, second = torch.eye(4)[:1], torch.eye(4)[1:2]
    with torch.inference_mode():
        plain = sampler.sample(network, rngs(1), SHAPE, first, None)
        assert torch.equal(plain, sampler.sample(network, rngs(1), SHAPE, first, 1.0))
        assert not torch.equal(plain, sampler.sample(network, rngs(1), SHAPE, second, None))
        assert not torch.equal(plain, sampler.sample(network, rngs(1), SHAPE, first, 2.0))
