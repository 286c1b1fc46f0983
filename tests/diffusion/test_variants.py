"""What every variant owes: losses per item, predicted noise, levels, and pictures that are a function of their seed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.codecs.pixels import Pixels
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.ddpm import DDPM
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator, normal
from tests.diffusion.fakes import SHAPE, VARIANTS, Leaning, Recorder, clean_images, rngs, variant

LEVELS = {  # from the least noise to the most
    "edm": torch.logspace(-2, 1, 6),
    "vp": torch.logspace(-2, 2, 6),
    "flow": torch.linspace(0, 1, 6),
    "ddpm": torch.tensor([0.0, 1, 99, 500, 998, 999]),
}
NO_LOSS = {  # levels, and what rounding may leave of the loss of a perfect network
    "edm": ([0.1, 0.3, 5.0, 80.0], 1e-6),
    "vp": ([0.01, 0.3, 5.0, 152.0], 1e-6),
    "flow": ([0.01, 0.3, 0.7, 1.0], 1e-6),
    "ddpm": ([5.0, 300, 990, 999], 1e-4),
}
SHORT = {"timesteps": 10, "steps": 5, "beta_end": 0.5}
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "edm": ("edm", {"steps": 6}),
    "ddim": ("ddpm", SHORT | {"sampler": "ddim"}),
    "ancestral": ("ddpm", SHORT | {"sampler": "ancestral"}),
    "dpm_solver": ("ddpm", SHORT | {"sampler": "dpm_solver"}),
    "euler": ("flow", {"steps": 6, "sampler": "euler"}),
    "heun": ("flow", {"steps": 6, "sampler": "heun"}),
    "vp": ("vp", {"steps": 12}),
}


@pytest.fixture(params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def diffusion(name: str) -> Diffusion:
    return variant(name)


@pytest.fixture
def batch(diffusion: Diffusion) -> Batch:
    rng = generator(0, "test.noise")
    level = diffusion.training_levels(rng, 6)
    return Batch(normal(rng, 6, *SHAPE).tanh(), level, normal(rng, 6, *SHAPE))


class Conditional(nn.Module):
    """Something that depends on all that it is given, for items of any shape, and keeps what it saw."""

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.seen = x
        told = c_noise if given.condition is None else c_noise + given.condition.flatten(1).sum(1) * ~given.drop
        return x.sin() + told.reshape(-1, *(1,) * (x.ndim - 1))


class Perfect(nn.Module):
    """Knows the clean items and their noise."""

    def __init__(self, diffusion: Diffusion, batch: Batch) -> None:
        super().__init__()
        self.diffusion, self.batch = diffusion, batch

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        clean, level, noise, _ = self.batch.inputs
        if self.diffusion.name == "edm":  # puts out (x - c_skip (x + sigma n)) / c_out
            sigma, data = level[:, None, None, None].double(), 0.5
            noised = clean + sigma * noise
            skipped = noised * data**2 / (sigma**2 + data**2)
            return ((clean - skipped) * (sigma**2 + data**2).sqrt() / (sigma * data)).float()
        return noise - clean if self.diffusion.name == "flow" else noise


def test_losses_are_per_item(name: str, diffusion: Diffusion, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.2)
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.rand(6, *SHAPE, generator=rng), torch.randn(6, *SHAPE, generator=rng)
    batch = Batch(x, LEVELS[name], noise, Given(torch.randn(6, 4, generator=rng)))
    together = diffusion.loss(network, *batch.inputs)
    alone = [diffusion.loss(network, *batch[i : i + 1].inputs) for i in range(6)]
    assert together.shape == (6,)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_perfect_prediction_has_no_loss(name: str, diffusion: Diffusion) -> None:
    levels, most = NO_LOSS[name]
    batch = Batch(clean_images(4), torch.tensor(levels), torch.stack([normal(rng, *SHAPE) for rng in rngs(4)]))
    losses = diffusion.loss(Perfect(diffusion, batch), *batch.inputs)
    assert losses.shape == (4,)
    assert losses.max() < most


def test_what_is_given_reaches_the_network(diffusion: Diffusion, batch: Batch) -> None:
    network = Recorder(torch.zeros(6, *SHAPE))
    given = Given(torch.ones(6, 4), torch.arange(6) % 2 == 0, torch.ones(6, dtype=torch.long))
    for function in (diffusion.loss, diffusion.residual, diffusion.predicted_noise):
        function(network, batch.x, batch.level, batch.noise, given)
        assert network.seen[-1][2] is given


def test_the_loss_is_the_weighted_distance_of_predicted_and_true_noise(diffusion: Diffusion, batch: Batch) -> None:
    given = Given(torch.rand(6, 3), torch.arange(6) % 2 == 0)
    network = Conditional()
    predicted = diffusion.predicted_noise(network, batch.x, batch.level, batch.noise, given)
    distance = (predicted - batch.noise).square().flatten(1).mean(1)
    expected = diffusion.loss(network, batch.x, batch.level, batch.noise, given)
    torch.testing.assert_close(diffusion.noise_weight(batch.level) * distance, expected, rtol=1e-3, atol=1e-5)
    exact = diffusion.residual(network, batch.x, batch.level, batch.noise, given).square().flatten(1).mean(1)
    torch.testing.assert_close(diffusion.noise_weight(batch.level) * exact, expected, rtol=1e-5, atol=1e-7)


def test_a_network_that_knows_the_image_predicts_the_noise(diffusion: Diffusion, batch: Batch) -> None:
    found = diffusion.predicted_noise(Perfect(diffusion, batch), *batch.inputs)
    torch.testing.assert_close(found, batch.noise, atol=2e-3, rtol=2e-3)


def test_signal_to_noise_is_that_of_what_the_network_sees(diffusion: Diffusion, batch: Batch) -> None:
    """Both parts of the noised item are read off by giving one of them alone."""
    network = Conditional()
    parts = []
    for x, noise in ((batch.x, 0 * batch.noise), (0 * batch.x, batch.noise)):
        diffusion.predicted_noise(network, x, batch.level, noise)
        parts.append(network.seen.double())
    signal = (parts[0] / batch.x).mean((1, 2, 3))
    noise = (parts[1] / batch.noise).mean((1, 2, 3))
    found = diffusion.log_snr(batch.level)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, 2 * (signal / noise).log(), atol=1e-3)


def test_discrete_levels_go_from_little_noise_to_much(diffusion: Diffusion) -> None:
    snr = diffusion.log_snr(diffusion.discrete_levels(50))
    assert len(snr) in (50, 1000)
    assert (snr.diff() < 0).all()
    assert snr.isfinite().all()
    assert snr[0] > 3 and snr[-1] < -3


def test_leading_levels_are_discrete_ones_from_the_least_noise(name: str, diffusion: Diffusion) -> None:
    levels = diffusion.leading_levels(8)
    discrete = diffusion.discrete_levels(8)
    assert len(levels) == 8 and levels[0] == discrete[0]
    assert (diffusion.log_snr(levels).diff() < 0).all()
    assert set(levels.tolist()) <= set(discrete.tolist())
    if name == "ddpm":
        assert levels.tolist() == [0, 125, 250, 375, 500, 625, 750, 875]
    else:
        assert torch.equal(levels, discrete)


def test_training_levels_are_a_function_of_the_generator(diffusion: Diffusion) -> None:
    first, second = (diffusion.training_levels(generator(5, "levels"), 8) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert not torch.equal(first, diffusion.training_levels(generator(6, "levels"), 8))


@pytest.mark.parametrize("shape", [(5,), (4, 3, 3), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("condition", [torch.rand(6), torch.rand(6, 3), torch.arange(24).view(6, 2, 2)], ids=len)
def test_items_and_conditions_have_any_shape(diffusion: Diffusion, shape: tuple[int, ...], condition: Tensor) -> None:
    rng = generator(1, "test.shapes")
    level = diffusion.training_levels(rng, 6)
    x, noise = normal(rng, 6, *shape), normal(rng, 6, *shape)
    told = Given(condition[:, None] if condition.ndim == 1 else condition, torch.arange(6) % 2 == 0)
    losses = diffusion.loss(Conditional(), x, level, noise, told)
    grid = [values.flatten(1)[:, None, None] for values in (x, noise)]  # the same values as an image
    torch.testing.assert_close(losses, diffusion.loss(Conditional(), grid[0], level, grid[1], told))
    assert diffusion.residual(Conditional(), x, level, noise, told).shape == x.shape


@pytest.fixture(params=SAMPLERS)
def sampler(request: pytest.FixtureRequest) -> Diffusion:
    name, changes = SAMPLERS[request.param]
    return variant(name, **changes)


@pytest.fixture
def network(sampler: Diffusion, tiny_dit: Callable[..., nn.Module]) -> nn.Module:
    """Whose pictures depend on everything and are not all at the ends of the range."""
    return Leaning(tiny_dit(4, spread=0.2)) if sampler.name == "vp" else tiny_dit(4, spread=0.1)


@dataclass(frozen=True)
class Pictures:
    """Pictures of a variant, decoded."""

    sampler: Diffusion
    network: nn.Module

    def __call__(
        self, generators: list[np.random.Generator], condition: Tensor | None, guidance: float | None
    ) -> Tensor:
        with torch.inference_mode():
            x = self.sampler.sample(self.network, generators, SHAPE, Given(condition), guidance)
        return Pixels("pixels").decode(x)


@pytest.mark.parametrize("guidance", [None, 2.0])
def test_same_seed_same_picture_whatever_the_batch(
    sampler: Diffusion, network: nn.Module, guidance: float | None
) -> None:
    pictures, condition = Pictures(sampler, network), torch.eye(4)
    together = pictures(rngs(4), condition, guidance)
    alone = [pictures(rngs(1, i), condition[i : i + 1], guidance) for i in range(4)]
    reverse = pictures(rngs(4)[::-1], condition.flip(0), guidance)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, reverse.flip(0), atol=1e-4, rtol=0)
    assert together.abs().max() <= 1
    if sampler.name == "vp":
        assert (together.abs() < 1).float().mean() > 0.8
    assert torch.pdist(together.flatten(1)).min() > 1e-2


def test_guidance_and_condition_reach_the_picture(sampler: Diffusion, network: nn.Module) -> None:
    pictures, first, second = Pictures(sampler, network), torch.eye(4)[:1], torch.eye(4)[1:2]
    plain = pictures(rngs(1), first, None)
    assert torch.equal(plain, pictures(rngs(1), first, 1.0))
    assert not torch.equal(plain, pictures(rngs(1), second, None))
    assert not torch.equal(plain, pictures(rngs(1), first, 2.0))


class Knowing(nn.Module):
    """Knows the clean items, and answers what each variant's network would."""

    def __init__(self, diffusion: Diffusion, clean: Tensor) -> None:
        super().__init__()
        self.name, self.clean = diffusion.name, nn.Parameter(clean)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        told = c_noise.double()[:, None, None, None]
        sigma, t = (4 * told).exp(), (told + 1) / 2
        if self.name == "flow":
            return ((x - self.clean) / t).float()
        if self.name == "edm":  # what is left of c_out Net = D - c_skip x, x being scaled by c_in
            total = sigma**2 + 0.25
            return ((self.clean - x * total.sqrt() * 0.25 / total) * total.sqrt() / (0.5 * sigma)).float()
        return ((x * (sigma**2 + 1).sqrt() - self.clean) / sigma).float()


def test_a_watch_is_told_levels_and_predicted_clean_items(sampler: Diffusion) -> None:
    clean, seen = clean_images(3), list[tuple[float, Tensor]]()
    with torch.inference_mode():
        x = sampler.sample(Knowing(sampler, clean), rngs(3), SHAPE, watch=lambda *told: seen.append(told))
        unwatched = sampler.sample(Knowing(sampler, clean), rngs(3), SHAPE)
    steps = 10 if getattr(sampler, "sampler", "") == "ancestral" else sampler.steps
    assert torch.tensor([level for level, _ in seen]).tolist() == sampler.generation_levels(steps).tolist()
    for _, predicted in seen:
        torch.testing.assert_close(predicted, clean, atol=2e-3, rtol=0)
    assert torch.equal(x, unwatched)


def test_what_was_predicted_last_is_what_comes_out(sampler: Diffusion, network: nn.Module) -> None:
    """But for VP, whose last step is not straight."""
    seen: list[Tensor] = []
    with torch.inference_mode():
        x = sampler.sample(network, rngs(3), SHAPE, watch=lambda _, clean: seen.append(clean))
    torch.testing.assert_close(seen[-1], x, atol=2e-2 if sampler.name == "vp" else 1e-5, rtol=0)
    assert (seen[0] - seen[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("given", [NOTHING, Given(torch.eye(4)[:3])], ids=["nothing", "condition"])
def test_samplers_do_not_clamp_but_those_of_ddpm_on_pixels_clip_what_they_predict(
    sampler: Diffusion, tiny_dit: Callable[..., nn.Module], given: Given
) -> None:
    with torch.inference_mode():
        x = sampler.sample(tiny_dit(4, spread=1.0), rngs(3), SHAPE, given)
    decoded = Pixels("pixels").decode(x)
    assert decoded.min() == -1 and decoded.max() == 1
    assert torch.equal(x, decoded) == (isinstance(sampler, DDPM) and sampler.sampler != "dpm_solver")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_loss_may_first_be_asked_for_inside_of_torch_func(name: str) -> None:
    made, x = variant(name), clean_images(2)
    level = made.training_levels(generator(1, "test"), 2)

    def loss(scale: Tensor) -> Tensor:
        return made.loss(lambda noised, c_noise, given: scale * noised, x, level, x).sum()

    first, second = (torch.func.grad(torch.func.grad(loss))(torch.ones(())) for _ in range(2))
    assert first == second > 0
