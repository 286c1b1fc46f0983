"""Stable Diffusion 1.5 as GUDA-C uses it: its noise levels, and the sampler of its queries."""

import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion.ddpm import DDPM
from tdattr.diffusion.dpm_solver import make_scheduler
from tdattr.networks import Given
from tests.diffusion.fakes import rngs, variant
from tests.parity.golden import golden

SETTINGS = {"schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "sampler": "dpm_solver"}


class Linear(nn.Module):
    """a·x + b."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), b

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        return self.a * x + self.b


@pytest.fixture
def ddpm() -> DDPM:
    return variant("ddpm", **SETTINGS, steps=golden("sd15.dpm_solver").constants["steps"])


def test_alpha_bar(ddpm: DDPM) -> None:
    entry = golden("sd15.alpha_bar")
    found = ddpm.alpha_bar[entry.constants["t"]]
    entry.check("published code (float32)", found)
    entry.check("definition in double precision", found)


def test_levels_of_the_sampler(ddpm: DDPM) -> None:
    entry = golden("sd15.dpm_solver")
    timesteps = ddpm.generation_levels(ddpm.steps).long().tolist()
    scheduler = make_scheduler(timesteps, ddpm.alpha_bar.tolist())
    entry.check("timesteps", timesteps)
    entry.check("timesteps", scheduler.timesteps)
    entry.check("sigmas", scheduler.sigmas)


def test_a_latent(ddpm: DDPM, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = golden("sd15.dpm_solver_image")
    start = entry.tensors()["z"]
    monkeypatch.setattr("tdattr.diffusion.ddpm.draw_noise", lambda *_: start)
    network = Linear(entry.constants["a"], entry.constants["b"])
    with torch.inference_mode():
        found = ddpm.sample(network, rngs(1), tuple(start.shape[1:]))
    entry.check("latent", found)
    assert found.abs().max() > 3  # nothing is clipped
