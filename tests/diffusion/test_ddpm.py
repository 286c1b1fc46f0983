"""DDPM against diffusers: its schedules, DDIM step by step, and the ancestral posterior step by step."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn

from tdattr.diffusion import MAX_NOISE_WEIGHT
from tdattr.diffusion.ddpm import DDPM
from tdattr.errors import UserError
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator, normal
from tests.diffusion.fakes import SHAPE, Recorder, clean_images, rngs, variant


@pytest.fixture(scope="module")
def ddpm() -> DDPM:
    return variant("ddpm")


class Fixed(nn.Module):
    """A noise prediction that depends on every pixel and on the level; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.mix = nn.Parameter(torch.randn(64, 64, generator=rng) / 8)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        self.seen.append((x, c_noise))
        mixed = (x.flatten(1) @ self.mix).view_as(x)
        return 0.8 * x + 0.3 * torch.tanh(mixed + c_noise[:, None, None, None])


class Timed(Fixed):
    """The same for a network that is told timesteps, of which there are up to 1000."""

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return super().forward(x, c_noise / 500 - 1)


class Knowing(nn.Module):
    """Knows the clean image, and so the noise in any noised one."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = nn.Parameter(clean)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        ratio = (8 * c_noise.double()).exp()[:, None, None, None]  # noise to signal, as variances
        kept = 1 / (1 + ratio)
        return ((x - kept.sqrt() * self.clean) / (1 - kept).sqrt()).float()


def reference(cls: Any, config: DDPM, **settings: Any) -> Any:
    schedule = "squaredcos_cap_v2" if config.schedule == "cosine" else config.schedule
    return cls(config.timesteps, config.beta_start, config.beta_end, beta_schedule=schedule, **settings)


def log_sigma(kept: Tensor) -> Tensor:
    return (((1 - kept) / kept).sqrt().log() / 4).float()


@pytest.mark.parametrize(
    ("schedule", "timesteps"), [("linear", 1000), ("cosine", 1000), ("cosine", 4000), ("scaled_linear", 1000)]
)
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
    torch.testing.assert_close(network.seen[0][1], log_sigma(scheduler.alphas_cumprod[t]), rtol=1e-3, atol=1e-3)
    expected = ((Fixed()(noised, log_sigma(scheduler.alphas_cumprod[t])) - noise) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 20, 50, 250, 1000])
def test_leading_timesteps_are_those_of_diffusers(ddpm: DDPM, steps: int) -> None:
    scheduler = reference(DDIMScheduler, ddpm, timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    assert ddpm.generation_levels(steps).tolist() == scheduler.timesteps.tolist()
    assert ddpm.leading_levels(steps).tolist() == scheduler.timesteps.tolist()[::-1]


def test_an_offset_leads_to_no_timestep_that_is_not_there(ddpm: DDPM) -> None:
    """Methods ask for any number of levels, whatever the generation's."""
    config = replace(ddpm, offset=1)
    for count in (1, 50, 142, 999, 1000):
        assert 0 <= config.generation_levels(count).min() <= config.generation_levels(count).max() < 1000


def test_leading_timesteps_reach_far_whatever_their_number(ddpm: DDPM) -> None:
    """diffusers' lie close together where the number is no divisor: 999 are 998 … 0, and 600 are 599 … 0."""
    for count in (7, 142, 600, 999):
        levels = ddpm.generation_levels(count)
        assert levels[0] == 1000 - math.ceil(1000 / count) and levels[-1] == 0
        assert set(levels.diff().tolist()) <= {-float(1000 // count), -float(1000 // count + 1)}


def test_evenly_spaced_levels(ddpm: DDPM) -> None:
    ddpm = replace(ddpm, spacing="linspace")
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


@pytest.mark.parametrize("noise", ["predicted", "recomputed"])
@pytest.mark.parametrize(("timesteps", "steps"), [(12, 12), (12, 4), (1000, 20)])
def test_ddim_is_that_of_diffusers(
    ddpm: DDPM, timesteps: int, steps: int, noise: Literal["predicted", "recomputed"]
) -> None:
    """With every setting of the scheduler left as it is, and with the one that takes the clipped item's noise."""
    config = replace(ddpm, timesteps=timesteps, steps=steps, ddim_noise=noise)
    config = replace(config, beta_end=0.02 if timesteps == 1000 else 0.3)
    scheduler = reference(DDIMScheduler, config)
    scheduler.set_timesteps(steps)
    network = Fixed()
    with torch.inference_mode():
        images = config.sample(network, rngs(3), SHAPE)
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t in scheduler.timesteps.tolist():
            eps = network(x, log_sigma(scheduler.alphas_cumprod[t]).expand(3))
            x = scheduler.step(eps, t, x, use_clipped_model_output=noise == "recomputed").prev_sample
    torch.testing.assert_close(images, x, rtol=1e-3, atol=1e-3)
    other = replace(config, ddim_noise={"predicted": "recomputed", "recomputed": "predicted"}[noise])
    assert (other.sample(network, rngs(3), SHAPE) - images).abs().max() > 1e-2


@pytest.mark.parametrize(("timesteps", "steps", "stride"), [(12, 12, 1), (13, 5, 3), (1000, 28, 37)])
def test_ddim_on_evenly_spaced_timesteps(ddpm: DDPM, timesteps: int, steps: int, stride: int) -> None:
    config = replace(ddpm, timesteps=timesteps, steps=steps, beta_end=0.02 if timesteps == 1000 else 0.3)
    config = replace(config, spacing="linspace", ddim_noise="recomputed")
    visited = range(timesteps - 1, -1, -stride)
    assert len(visited) == steps
    assert visited[-1] == 0
    scheduler = reference(DDIMScheduler, config)
    scheduler.set_timesteps(steps)
    scheduler.num_inference_steps = timesteps // stride  # from which diffusers works out the next timestep
    assert timesteps // scheduler.num_inference_steps == stride
    network = Fixed()
    with torch.inference_mode():
        images = config.sample(network, rngs(3), SHAPE)
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t, (seen, _) in zip(visited, list(network.seen), strict=True):
            torch.testing.assert_close(seen, x, rtol=1e-3, atol=1e-3)
            eps = network(x, log_sigma(scheduler.alphas_cumprod[t]).expand(3))
            x = scheduler.step(eps, t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(images, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 8, 20, 49])
def test_dpm_solver_is_that_of_diffusers_as_pipelines_use_it(ddpm: DDPM, schedule: str, steps: int) -> None:
    """Of their schedule and their timesteps, from the noise that each query's generator draws."""
    config = replace(ddpm, timesteps=50, steps=steps, sampler="dpm_solver", schedule=schedule, beta_end=0.1)
    scheduler = reference(DPMSolverMultistepScheduler, config)
    scheduler.set_timesteps(steps)
    network = Fixed()
    with torch.inference_mode():
        found = config.sample(network, rngs(3), SHAPE)
        assert config.generation_levels(steps).tolist() == scheduler.timesteps.tolist()
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, log_sigma(config.alpha_bar[t]).expand(3)), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=2e-3, atol=2e-3)
    assert found.abs().max() > 1  # nothing is clipped


def test_dpm_solver_visits_every_timestep_but_the_first_at_most(ddpm: DDPM) -> None:
    levels = replace(ddpm, timesteps=30, steps=29, sampler="dpm_solver").generation_levels(29)
    assert levels.tolist() == list(range(29, 0, -1))


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
        images = config.sample(network, rngs(3), SHAPE)
        x = torch.stack([normal(rng, *SHAPE) for rng in streams])
        for t, (seen, _) in zip(range(11, -1, -1), list(network.seen), strict=True):
            torch.testing.assert_close(seen, x, rtol=1e-3, atol=1e-3)
            eps = network(x, log_sigma(scheduler.alphas_cumprod[t]).expand(3))
            x = scheduler.step(eps, t, x).prev_sample
    torch.testing.assert_close(images, x, rtol=1e-3, atol=1e-3)


V = {"prediction": "v_prediction", "c_noise": "timestep"}
ZERO = V | {"zero_terminal_snr": True}


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
def test_zero_terminal_snr_is_that_of_diffusers(ddpm: DDPM, schedule: Any) -> None:
    config = replace(ddpm, schedule=schedule, **ZERO)
    expected = reference(DDPMScheduler, config, rescale_betas_zero_snr=True).alphas_cumprod
    torch.testing.assert_close(config.alpha_bar.float(), expected, rtol=2e-3, atol=2e-6)
    assert config.alpha_bar[-1] == 0
    assert config.alpha_bar[0] == pytest.approx(float(replace(ddpm, schedule=schedule).alpha_bar[0]), rel=1e-12)


@pytest.mark.parametrize("zero", [False, True])
def test_velocities_are_those_of_diffusers(ddpm: DDPM, zero: bool) -> None:
    config = replace(ddpm, **(ZERO if zero else V))
    scheduler = reference(DDPMScheduler, config, rescale_betas_zero_snr=zero)
    rng = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(4, *SHAPE, generator=rng) for _ in range(2))
    t = torch.tensor([0, 10, 500, 999])
    network = Recorder(torch.zeros(4, *SHAPE))
    losses = config.loss(network, x, t.float(), noise)
    torch.testing.assert_close(network.seen[0][0], scheduler.add_noise(x, noise, t), rtol=1e-3, atol=1e-3)
    velocity = scheduler.get_velocity(x, noise, t)
    torch.testing.assert_close(losses, velocity.square().mean((1, 2, 3)), rtol=2e-3, atol=1e-3)
    perfect = Recorder(velocity)
    assert config.loss(perfect, x, t.float(), noise).max() < 1e-4
    assert config.residual(perfect, x, t.float(), noise).abs().max() < 1e-2
    assert config.noise_weight(t.float()).max() <= MAX_NOISE_WEIGHT


def test_an_error_of_the_velocity_is_one_of_the_noise(ddpm: DDPM) -> None:
    """And weighs as much, up to the level from which on its weight is bounded."""
    config = replace(ddpm, **ZERO)
    rng = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(6, *SHAPE, generator=rng) for _ in range(2))
    t = torch.tensor([0.0, 50.0, 300.0, 600.0, 900.0, 999.0])
    network = Timed()
    with torch.inference_mode():
        losses = config.loss(network, x, t, noise)
        distances = config.residual(network, x, t, noise).square().mean((1, 2, 3))
        seen = config.predicted_noise(network, x, t, noise)
        kept = config.alpha_bar[t.long()][:, None, None, None]
        velocity = network(config.noised(x, t, noise), t)
    expected = kept.sqrt() * velocity + (1 - kept).sqrt() * config.noised(x, t, noise)
    torch.testing.assert_close(seen, expected.float(), rtol=1e-4, atol=1e-5)
    weights = config.noise_weight(t)
    exact = weights < MAX_NOISE_WEIGHT
    assert exact.tolist() == [True, True, True, True, False, False]
    torch.testing.assert_close((weights * distances)[exact], losses[exact], rtol=1e-4, atol=1e-5)


def test_what_is_in_a_noised_item_keeps_its_digits(ddpm: DDPM) -> None:
    """Of noise, where nearly nothing of it is there: alpha_bar is 1 - 3e-6 at the first of 4 000 cosine timesteps."""
    config = replace(ddpm, schedule="cosine", timesteps=4000)
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    expected = (1 - config.alpha_bar[0]).sqrt().item()
    assert config.noised(zero, torch.zeros(1), one).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("prediction", [{}, V, ZERO], ids=["epsilon", "v", "zero"])
@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"clip": None}, {"clip_sample": False}),
        ({"offset": 1, "end": "first"}, {"steps_offset": 1, "set_alpha_to_one": False}),
        ({"clip": 2.0}, {"clip_sample_range": 2.0}),
        ({"spacing": "trailing"}, {"timestep_spacing": "trailing"}),
    ],
    ids=["plain", "stable diffusion", "clip", "trailing"],
)
def test_every_setting_of_ddim_is_that_of_diffusers(
    ddpm: DDPM, prediction: dict[str, Any], changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    config = replace(ddpm, steps=20, **({"c_noise": "timestep"} | prediction | changes))
    settings = settings | {
        "prediction_type": config.prediction,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
    }
    scheduler = reference(DDIMScheduler, config, **settings)
    scheduler.set_timesteps(20)
    network = Timed()
    with torch.inference_mode():
        found = config.sample(network, rngs(3), SHAPE)
        assert config.generation_levels(20).tolist() == scheduler.timesteps.tolist()
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t in scheduler.timesteps.tolist():
            x = scheduler.step(network(x, torch.full((3,), float(t))), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("prediction", [{}, V, ZERO], ids=["epsilon", "v", "zero"])
def test_dpm_solver_of_velocities_is_that_of_diffusers(ddpm: DDPM, prediction: dict[str, Any]) -> None:
    config = replace(ddpm, steps=12, sampler="dpm_solver", **({"c_noise": "timestep"} | prediction))
    settings = {"prediction_type": config.prediction, "rescale_betas_zero_snr": config.zero_terminal_snr}
    scheduler = reference(DPMSolverMultistepScheduler, config, **settings)
    scheduler.set_timesteps(12)
    network = Timed()
    with torch.inference_mode():
        found = config.sample(network, rngs(3), SHAPE)
        x = torch.stack([normal(rng, *SHAPE) for rng in rngs(3)])
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t.float().expand(3)), t, x).prev_sample
    assert found.isfinite().all()
    torch.testing.assert_close(found, x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("prediction", [{}, V], ids=["epsilon", "v"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_large_variance_is_that_of_diffusers(
    ddpm: DDPM, prediction: dict[str, Any], clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"timesteps": 12, "steps": 1, "beta_end": 0.3, "clip": clip} | prediction
    config = replace(ddpm, sampler="ancestral", variance="large", **({"c_noise": "timestep"} | changes))
    settings = {"variance_type": "fixed_large", "clip_sample": clip is not None, "prediction_type": config.prediction}
    scheduler = reference(DDPMScheduler, config, **settings)
    network, streams = Timed(), rngs(3)
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor",
        lambda *_, **__: torch.stack([normal(rng, *SHAPE) for rng in streams]),
    )
    with torch.inference_mode():
        found = config.sample(network, rngs(3), SHAPE)
        x = torch.stack([normal(rng, *SHAPE) for rng in streams])
        for t in range(11, -1, -1):
            x = scheduler.step(network(x, torch.full((3,), float(t))), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [("ddim", "linear"), ("ddim", "cosine"), ("ancestral", "cosine"), ("dpm_solver", "scaled_linear")],
)
def test_perfect_prediction_recovers_the_clean_image(ddpm: DDPM, sampler: str, schedule: str) -> None:
    clean = clean_images(4)
    config = replace(ddpm, timesteps=50, steps=10, sampler=sampler, schedule=schedule)
    images = config.sample(Knowing(clean), rngs(4), SHAPE)
    torch.testing.assert_close(images, clean, atol=2e-3, rtol=0)


@pytest.mark.parametrize("timesteps", [1000, 7])
def test_a_network_that_embeds_timesteps_is_told_the_timestep(ddpm: DDPM, timesteps: int) -> None:
    told = replace(ddpm, timesteps=timesteps, steps=3, c_noise="timestep")
    network = Recorder(torch.zeros(timesteps, *SHAPE))
    t = torch.arange(timesteps).float()
    told.loss(network, torch.zeros(timesteps, *SHAPE), t, torch.zeros(timesteps, *SHAPE))
    assert torch.equal(network.seen[0][1], t)
    assert told.tells_timesteps and not ddpm.tells_timesteps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schedule": "quadratic"},
            r"^diffusion.schedule=quadratic is unknown: choose cosine, linear or scaled_linear\.$",
        ),
        ({"sampler": "euler"}, r"^diffusion.sampler=euler is unknown: choose ddim, ancestral or dpm_solver\.$"),
        ({"spacing": "random"}, r"^diffusion.spacing=random is unknown: choose leading, linspace or trailing\.$"),
        ({"prediction": "sample"}, r"^diffusion.prediction=sample is unknown: choose epsilon or v_prediction\.$"),
        ({"zero_terminal_snr": True}, r"zero_terminal_snr=true needs diffusion.prediction=v_prediction, as the noise"),
        ({"clip": 0.0}, r"diffusion.clip=0.0 must be above 0, or null"),
        ({"offset": 20}, r"diffusion.offset=20 .* so that the first of diffusion.steps=50 is below"),
        ({"ddim_noise": "none"}, r"^diffusion.ddim_noise=none is unknown: choose predicted or recomputed\.$"),
        ({"c_noise": "sigma"}, r"^diffusion.c_noise=sigma is unknown: choose log_sigma or timestep\.$"),
        ({"steps": 1001}, "diffusion.steps=1001"),
        (
            {"steps": 1000, "sampler": "dpm_solver"},
            r"diffusion.steps=1000 must be below timesteps=1000 with sampler=dpm_solver",
        ),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        variant("ddpm", **change)


def test_what_is_not_read_forbids_nothing(ddpm: DDPM) -> None:
    """The ancestral sampler takes all timesteps, however few; an offset is of spaced ones."""
    assert replace(ddpm, sampler="ancestral", timesteps=40, steps=50).timesteps == 40
    assert replace(ddpm, spacing="trailing", steps=ddpm.timesteps, offset=1).offset == 1
    with pytest.raises(UserError, match=r"diffusion.steps=50 must be at most timesteps=40"):
        replace(ddpm, timesteps=40, steps=50)
