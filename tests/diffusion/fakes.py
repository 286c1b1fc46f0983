"""What the tests of the variants share: the variants as their YAML has them, and networks that answer what is known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator

CONF = Path(__file__).parents[2] / "conf"
VARIANTS = sorted(path.stem for path in (CONF / "diffusion").glob("*.yaml") if path.stem != "diffusers")  # is ddpm
SHAPE = (1, 8, 8)
MEAN, VARIANCE = 0.1, 0.04  # of Gaussian data: more than four deviations fit into [-1, 1]


def variant(name: str, **changes: Any) -> Any:
    """The variant of that name; names change values."""
    node = OmegaConf.load(CONF / "diffusion" / f"{name}.yaml")
    told = {"c_noise": "log_sigma"} if "c_noise" in node else {}  # which YAML takes from the model
    return build(OmegaConf.merge(node, told, changes), "diffusion")  # type: ignore[arg-type]


def rngs(count: int, first: int = 0) -> list[np.random.Generator]:
    """A generator for each query."""
    return [generator(7, "query", first + number) for number in range(count)]


def clean_images(count: int) -> Tensor:
    """Images in [-1, 1]."""
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Recorder(nn.Module):
    """Keeps what it is called with and answers a fixed image."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer, requires_grad=False)
        self.seen: list[tuple[Tensor, Tensor, Given]] = []

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        self.seen.append((x, c_noise, given))
        return self.answer


class GaussianVP(nn.Module):
    """The ideal network of VP for pixels distributed as N(MEAN, VARIANCE): its preconditioning undone."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.device = nn.Parameter(torch.zeros(()))

    def forward(self, scaled: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        self.calls += 1
        s = (4 * c_noise.double()).exp()[:, None, None, None]
        x = scaled.double() * (s**2 + 1).sqrt()
        ideal = (VARIANCE * x + s**2 * MEAN) / (VARIANCE + s**2)
        return ((x - ideal) / s).float()


class Leaning(nn.Module):
    """VP's ideal network with a little of another one added: pictures stay in range and depend on everything."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.ideal, self.other = GaussianVP(), other

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        return self.ideal(x, c_noise) + 0.2 * torch.tanh(self.other(x, c_noise, given))
