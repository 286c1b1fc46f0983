"""DDPM against diffusers: its schedules, DDIM step by step, and the ancestral posterior step by step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.diffusion.ddpm import DDPM
from tdattr.errors import UserError
from tdattr.seeding import generator, normal

YAML = Path(__file__).parents[2] / "conf" / "diffusion" / "ddpm.yaml"
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def ddpm() -> DDPM:
    return build(OmegaConf.load(YAML), "diffusion")


class Fixed(nn.Module):
    """A noise prediction that depends on every pixel and on the level; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.mix = nn.Parameter(torch.randn(64, 64, generator=rng) / 8)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, code: Tensor, *_: Tensor | None) -> Tensor:
        self.seen.append((x, code))
        mixed = (x.flatten(1) @ self.mix).view_as(x)
        return 0.8 * x + 0.3 * torch.tanh(mixed + code[:, None, None, None])


class Knowing(nn.Module):
    """Knows the clean image, and so the noise in any noised one."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = nn.Parameter(clean)

    def forward(self, x: Tensor, code: Tensor, *_: Tensor | None) -> Tensor:
        ratio = (8 * code.double()).exp()[:, None, None, None]  # noise to signal, as variances
        kept = 1 / (1 + ratio)
        return ((x - kept.sqrt() * self.clean) / (1 - kept).sqrt()).float()


def reference(cls: Any, config: DDPM, **settings: Any) -> Any:
    schedule = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[config.schedule]
    return cls(config.timesteps, config.beta_start, config.beta_end, beta_schedule=schedule, **settings)


def code(kept: Tensor) -> Tensor:
    return (((1 - kept) / kept).sqrt().log() / 4).float()


def clean_images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def rngs(count: int, first: int = 0) -> list[np.random.Generator]:
    return [generator(7, "query", first + number) for number in range(count)]


@pytest.mark.parametrize(("schedule", "timesteps"), [("linear", 1000), ("cosine", 1000), ("cosine", 4000)])
def test_schedules_are_those_of_diffusers(ddpm: DDPM, schedule: str, timesteps: int) -> None:
    config = replace(ddpm, schedule=schedule, timesteps=timesteps)
    expected = reference(DDPMScheduler, config).alphas_cumprod
    assert config.alpha_bar.shape == (timesteps,)
    assert config.alpha_bar.dtype == torch.float64
    torch.testing.assert_close(config.alpha_bar.float(), expected, rtol=2e-3, atol=1e-6)


def test_loss_follows_the_paper(ddpm: DDPM) -> None:
    rng = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(4, *SHAPE, generator=rng) for _ in range(2))
    t = torch.tensor([0, 10, 500, 999])
    network = Fixed()
    losses = ddpm.loss(network, x, t.float(), noise)
    scheduler = reference(DDPMScheduler, ddpm)
    noised = scheduler.add_noise(x, noise, t)
    torch.testing.assert_close(network.seen[0][0], noised, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network.seen[0][1], code(scheduler.alphas_cumprod[t]), rtol=1e-3, atol=1e-3)
    expected = ((Fixed()(noised, code(scheduler.alphas_cumprod[t])) - noise) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-4)


def test_perfect_prediction_has_no_loss(ddpm: DDPM) -> None:
    clean = clean_images(3)
    noise = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
    losses = ddpm.loss(Knowing(clean), clean, torch.tensor([5.0, 300, 990]), noise)
    assert losses.shape == (3,)
    assert losses.max() < 1e-4


def test_losses_are_per_item(ddpm: DDPM, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.2)
    rng = torch.Generator().manual_seed(0)
    arguments = (
        torch.rand(6, *SHAPE, generator=rng),
        torch.tensor([0.0, 1, 99, 500, 998, 999]),
        torch.randn(6, *SHAPE, generator=rng),
        torch.randn(6, 4, generator=rng),
    )
    alone = [ddpm.loss(network, *(v[i : i + 1] for v in arguments)) for i in range(6)]
    torch.testing.assert_close(ddpm.loss(network, *arguments), torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guidance", [None, 3.0])
def test_condition_reaches_loss_and_picture(
    ddpm: DDPM, tiny_dit: Callable[..., nn.Module], guidance: float | None
) -> None:
    network, sampler = tiny_dit(4, spread=0.2), replace(ddpm, steps=4)
    first, second = torch.eye(4)[:1], torch.eye(4)[1:2]
    x = torch.zeros(1, *SHAPE)
    with torch.inference_mode():
        losses = [ddpm.loss(network, x, torch.tensor([500.0]), x + 1, c) for c in (first, second)]
        images = [sampler.sample(network, rngs(1), SHAPE, c, guidance) for c in (first, second)]
    assert losses[0] != losses[1]
    assert not torch.equal(images[0], images[1])


def test_generation_levels(ddpm: DDPM) -> None:
    assert ddpm.generation_levels(5).tolist() == [999, 749, 500, 250, 0]
    assert ddpm.generation_levels(1000).tolist() == list(range(999, -1, -1))
    levels = ddpm.generation_levels(142)
    assert levels[0] == 999
    assert levels[-1] == 0
    assert set(levels.diff().tolist()) == {-7.0, -8.0}


def test_training_levels_are_uniform(ddpm: DDPM) -> None:
    config = replace(ddpm, timesteps=20, steps=20)
    counts = np.bincount(config.training_levels(generator(0, "levels"), 40_000).long(), minlength=20)
    assert len(counts) == 20
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # chi-squared of 19 degrees of freedom, p = 0.001
    first, second = (config.training_levels(generator(5, "levels"), 8) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("timesteps", "steps", "stride"), [(12, 12, 1), (13, 5, 3), (1000, 28, 37)])
def test_ddim_is_that_of_diffusers(ddpm: DDPM, timesteps: int, steps: int, stride: int) -> None:
    config = replace(ddpm, timesteps=timesteps, steps=steps, beta_end=0.02 if timesteps == 1000 else 0.3)
    visited = range(timesteps - 1, -1, -stride)
    assert len(visited) == steps
    assert visited[-1] == 0
    scheduler = reference(DDIMScheduler, config)
    scheduler.set_timesteps(steps)
    scheduler.num_inference_steps = timesteps // stride  # from which diffusers works out the next timestep
    assert timesteps // scheduler.num_inference_steps == stride
    network = Fixed()
    with torch.inference_mode():
        images = config.sample(network, rngs(3), SHAPE, None, None)
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t, (seen, _) in zip(visited, list(network.seen), strict=True):
            torch.testing.assert_close(seen, x, rtol=1e-3, atol=1e-3)
            eps = network(x, code(scheduler.alphas_cumprod[t]).expand(3))
            x = scheduler.step(eps, t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(images, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ancestral_posterior_is_that_of_diffusers(ddpm: DDPM, schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(ddpm, timesteps=12, steps=1, beta_end=0.3, schedule=schedule, sampler="ancestral")
    scheduler = reference(DDPMScheduler, config, variance_type="fixed_small")
    network, streams = Fixed(), rngs(3)
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor",
        lambda *_, **__: torch.stack([normal(rng, *SHAPE) for rng in streams]),
    )
    with torch.inference_mode():
        images = config.sample(network, rngs(3), SHAPE, None, None)
        x = torch.stack([normal(rng, *SHAPE) for rng in streams])
        for t, (seen, _) in zip(range(11, -1, -1), list(network.seen), strict=True):
            torch.testing.assert_close(seen, x, rtol=1e-3, atol=1e-3)
            eps = network(x, code(scheduler.alphas_cumprod[t]).expand(3))
            x = scheduler.step(eps, t, x).prev_sample
    torch.testing.assert_close(images, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("sampler", "schedule"), [("ddim", "linear"), ("ddim", "cosine"), ("ancestral", "cosine")])
def test_perfect_prediction_recovers_the_clean_image(ddpm: DDPM, sampler: str, schedule: str) -> None:
    clean = clean_images(4)
    config = replace(ddpm, timesteps=50, steps=10, sampler=sampler, schedule=schedule)
    images = config.sample(Knowing(clean), rngs(4), SHAPE, None, None)
    torch.testing.assert_close(images, clean, atol=2e-3, rtol=0)


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
@pytest.mark.parametrize("guidance", [None, 2.0])
def test_same_seed_same_picture_whatever_the_batch(
    ddpm: DDPM, tiny_dit: Callable[..., nn.Module], sampler: str, guidance: float | None
) -> None:
    network = tiny_dit(4, spread=0.1)
    config = replace(ddpm, timesteps=10, steps=5, beta_end=0.5, sampler=sampler)
    condition = torch.eye(4)
    with torch.inference_mode():
        together = config.sample(network, rngs(4), SHAPE, condition, guidance)
        alone = [config.sample(network, rngs(1, i), SHAPE, condition[i : i + 1], guidance) for i in range(4)]
        reverse = config.sample(network, rngs(4)[::-1], SHAPE, condition.flip(0), guidance)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, reverse.flip(0), atol=1e-4, rtol=0)
    assert torch.pdist(together.flatten(1)).min() > 1e-2


@pytest.mark.parametrize("change", [{"schedule": "quadratic"}, {"sampler": "euler"}, {"steps": 1001}])
def test_wrong_values_are_refused(ddpm: DDPM, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"diffusion.{next(iter(change))}={next(iter(change.values()))}"):
        replace(ddpm, **change)
