"""Stable Diffusion 1.5 as GUDA-C uses it: noise levels, the sampler of queries, anchors of AWSS and prompts."""

import re

import pytest
import torch
from torch import Tensor, nn

from tdattr.data.style_prompts import PromptForm
from tdattr.diffusion.ddpm import DDPM
from tdattr.diffusion.dpm_solver import make_scheduler
from tdattr.networks import Given
from tdattr.unlearning.anchors import anchor_distribution, mean_direction
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


@pytest.mark.parametrize("output", golden("sd15.anchor_distribution").outputs)
def test_anchors(output: str) -> None:
    entry = golden("sd15.anchor_distribution")
    names = ("prototypes before normalisation", "e before normalisation")
    prototypes, described = (torch.tensor(entry.constants[name], dtype=torch.float64) for name in names)
    if output.startswith("no descriptors"):
        described = mean_direction(torch.zeros(0, 3))
    beta, eta = (float(value) for value in re.findall(r"(?:beta|eta) ([\d.]+)", output))
    forgotten = entry.constants["names"].index(entry.constants["forgotten"])
    found = anchor_distribution(prototypes, described, forgotten, beta, 1.0 if output.endswith("uniform") else eta)
    entry.check(output, found)


@pytest.mark.parametrize("prompt", golden("sd15.prompts").outputs)
def test_prompts(prompt: str) -> None:
    parts = PromptForm().parse(prompt)
    found = {"without style": parts.without_style, "object": parts.object, "descriptors": list(parts.descriptors)}
    golden("sd15.prompts").check(prompt, found)
