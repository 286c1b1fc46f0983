"""Flow matching against its formulas in double precision, and against the exact solution of its sampling ODE."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.diffusion.flow import Flow
from tdattr.errors import UserError
from tdattr.methods.loss_shift import generation_part
from tdattr.seeding import generator, normal

YAML = Path(__file__).parents[2] / "conf" / "diffusion" / "flow.yaml"
SHAPE = (1, 8, 8)
MEAN, VARIANCE = 0.1, 0.04  # of the Gaussian data: more than four deviations fit into [-1, 1]


@pytest.fixture(scope="module")
def flow() -> Flow:
    return build(OmegaConf.load(YAML), "diffusion")


def time(code: Tensor) -> Tensor:
    return ((code.double() + 1) / 2)[:, None, None, None]


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
    """The mean velocity E[n - x | x_t] where pixels are distributed as N(MEAN, VARIANCE)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.device = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, code: Tensor, *_: Tensor | None) -> Tensor:
        self.calls += 1
        t = time(code)
        excess = (x.double() - (1 - t) * MEAN) / ((1 - t) ** 2 * VARIANCE + t**2)
        return (t * excess - (MEAN + (1 - t) * VARIANCE * excess)).float()


class Knowing(nn.Module):
    """Knows the clean image, and so the straight line to it from any point."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = nn.Parameter(clean)

    def forward(self, x: Tensor, code: Tensor, *_: Tensor | None) -> Tensor:
        return ((x - self.clean) / time(code)).float()  # n - x = (x_t - x) / t


def clean_images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def rngs(count: int, first: int = 0) -> list[np.random.Generator]:
    return [generator(7, "query", first + number) for number in range(count)]


def test_loss_follows_the_paper(flow: Flow) -> None:
    rng = np.random.default_rng(0)
    x, noise, answer = (rng.standard_normal((5, *SHAPE)) for _ in range(3))
    t = np.array([0.0, 0.01, 0.5, 0.99, 1.0])
    network = Recorder(torch.from_numpy(answer).float())
    losses = flow.loss(network, *(torch.from_numpy(v).float() for v in (x, t, noise)))
    seen = network.seen[0]
    assert isinstance(seen[0], Tensor)
    assert isinstance(seen[1], Tensor)
    s = t[:, None, None, None]
    np.testing.assert_allclose(seen[0], (1 - s) * x + s * noise, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[1], 2 * t - 1, atol=1e-6)
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses, ((answer - (noise - x)) ** 2).mean((1, 2, 3)), rtol=1e-5)


def test_perfect_prediction_has_no_loss(flow: Flow) -> None:
    clean = clean_images(4)
    noise = torch.stack([normal(rng, *SHAPE) for rng in rngs(4)])
    losses = flow.loss(Knowing(clean), clean, torch.tensor([0.01, 0.3, 0.7, 1.0]), noise)
    assert losses.shape == (4,)
    assert losses.max() < 1e-6


def test_condition_drop_and_augmentation_reach_the_network(flow: Flow) -> None:
    network = Recorder(torch.zeros(2, *SHAPE))
    extra = (torch.ones(2, 4), torch.tensor([True, False]), torch.ones(2, 2))
    flow.loss(network, torch.zeros(2, *SHAPE), torch.rand(2), torch.zeros(2, *SHAPE), *extra)
    assert all(given is seen for given, seen in zip(extra, network.seen[0][2:], strict=True))


def test_losses_are_per_item(flow: Flow, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.2)
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.rand(6, *SHAPE, generator=rng), torch.randn(6, *SHAPE, generator=rng)
    t, condition = torch.linspace(0, 1, 6), torch.randn(6, 4, generator=rng)
    together = flow.loss(network, x, t, noise, condition)
    alone = [flow.loss(network, *(v[i : i + 1] for v in (x, t, noise, condition))) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("levels", ["uniform", "logit_normal"])
def test_training_levels_are_a_function_of_the_generator(flow: Flow, levels: str) -> None:
    config = replace(flow, levels=levels)
    first, second = (config.training_levels(generator(5, "levels"), 8) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, config.training_levels(generator(6, "levels"), 8))


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
        images = replace(flow, sampler=sampler, steps=count).sample(Optimal(), rngs(50), SHAPE, None, None)
        errors[count] = float((images - exact).abs().max() / exact.abs().max())
    assert images.mean() == pytest.approx(MEAN, abs=0.02)
    assert images.std() == pytest.approx(VARIANCE**0.5, rel=0.04)
    assert errors[steps] < most
    assert low < errors[steps] / errors[2 * steps] < high


@pytest.mark.parametrize(("sampler", "calls"), [("euler", 5), ("heun", 9)])
def test_straight_lines_are_followed_exactly(flow: Flow, sampler: str, calls: int) -> None:
    clean = clean_images(4)
    config = replace(flow, sampler=sampler, steps=5)
    torch.testing.assert_close(config.sample(Knowing(clean), rngs(4), SHAPE, None, None), clean, atol=1e-5, rtol=0)
    network = Optimal()
    config.sample(network, rngs(1), SHAPE, None, None)
    assert network.calls == calls


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("guidance", [None, 2.0])
def test_same_seed_same_picture_whatever_the_batch(
    flow: Flow, tiny_dit: Callable[..., nn.Module], sampler: str, guidance: float | None
) -> None:
    network, config = tiny_dit(4, spread=0.1), replace(flow, sampler=sampler, steps=6)
    condition = torch.eye(4)
    with torch.inference_mode():
        together = config.sample(network, rngs(4), SHAPE, condition, guidance)
        alone = [config.sample(network, rngs(1, i), SHAPE, condition[i : i + 1], guidance) for i in range(4)]
        reverse = config.sample(network, rngs(4)[::-1], SHAPE, condition.flip(0), guidance)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, reverse.flip(0), atol=1e-4, rtol=0)
    assert together.abs().max() <= 1
    assert torch.pdist(together.flatten(1)).min() > 1e-2


def test_guidance_and_condition_reach_the_picture(flow: Flow, tiny_dit: Callable[..., nn.Module]) -> None:
    network, config = tiny_dit(4, spread=0.1), replace(flow, steps=6)
    first, second = torch.eye(4)[:1], torch.eye(4)[1:2]
    with torch.inference_mode():
        plain = config.sample(network, rngs(1), SHAPE, first, None)
        assert torch.equal(plain, config.sample(network, rngs(1), SHAPE, first, 1.0))
        assert not torch.equal(plain, config.sample(network, rngs(1), SHAPE, second, None))
        assert not torch.equal(plain, config.sample(network, rngs(1), SHAPE, first, 2.0))


@pytest.mark.parametrize(
    "change", [{"levels": "cosine"}, {"sampler": "ddim"}, {"steps": 0}, {"logit_std": 0.0}], ids=str
)
def test_wrong_values_are_refused(flow: Flow, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"diffusion.{next(iter(change))}={next(iter(change.values()))}"):
        replace(flow, **change)
