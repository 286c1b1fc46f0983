"""Gradients from what goes into layers and comes back to them, against autograd cell by cell."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.diffusion.edm import EDM
from tdattr.networks import NOTHING, Given, Network
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.layer_gradients import Call, Products
from tdattr.scoring.projection import ProjectionConfig
from tdattr.search_path import CONF
from tests.methods.plain import one_by_one

DRAWS, TOKENS = 4, 16
SPREAD = 0.1  # of the weights, so that no gradient is zero
NONE = ProjectionConfig("none", 8, 1)


class Odd(Network):
    """A network whose gradients no single rule gives."""

    parts: ClassVar = {"all": ("*",)}
    conditional = False
    knows_augmentation = False

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.strided = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2)
        self.norm = nn.GroupNorm(2, 6)
        self.level = nn.Linear(1, 6)
        self.places = nn.Embedding(TOKENS, 6)
        self.twice = nn.Linear(6, 6)
        self.bare = nn.Linear(6, 6)
        self.hasty = nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.ones(6))
        self.unused = nn.Linear(2, 2)
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.last = nn.ConvTranspose2d(6, 1, 2, stride=2)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        h = self.norm(self.strided(self.grouped(self.first(x)).sin()))
        tokens = h.flatten(2).mT + self.level(c_noise[:, None])[:, None]
        tokens = tokens + self.places(torch.arange(TOKENS))  # one for all cells
        tokens = self.twice(self.twice(tokens).tanh())
        tokens = nn.functional.linear(tokens, self.bare.weight, self.bare.bias) * self.scale  # without a call
        tokens = nn.functional.silu(self.hasty(tokens), inplace=True)  # what came out is gone
        return self.last(tokens.mT.unflatten(2, (4, 4)))


OTHERWISE = {"places.weight", "bare.weight", "bare.bias", "hasty.weight", "hasty.bias", "scale"}


def gradients(network: Network, edm: EDM, channels: int, batch_size: int, **changes: Any) -> Gradients:
    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value += SPREAD * torch.randn_like(value)
    settings = {"output": "loss", "draws": DRAWS, "levels": "generation", "normalise": False, "parameters": "all"}
    config = GradientConfig(**(settings | {"projection": NONE} | changes))
    noise = config.noise_set(edm, (channels, 8, 8), 3)
    return Gradients(network.eval(), edm, config, network.parameter_names("all"), noise, batch_size)


def compare(found: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("batch_size", [1, 16, 100])  # 16: as many cells as tokens
def test_whatever_a_network_does_with_its_parameters(edm: EDM, batch_size: int, normalise: bool) -> None:
    torch.manual_seed(1)
    wanted = gradients(Odd(), edm, 1, batch_size, normalise=normalise)
    x = torch.randn(5, 1, 8, 8)
    found = wanted.of(x, NOTHING)
    compare(found, one_by_one(wanted, x, None))
    for count, others in wanted.unexplained.items():
        assert set(others) - {"places.weight"} == OTHERWISE - {"places.weight"}
        assert "places.weight" in others or count == 1  # a single cell is all that shares it
    assert set(wanted.unexplained) == {1: {1}, 16: {16, 4}, 100: {20}}[batch_size]


@pytest.mark.parametrize("model", ["dit_tiny", "dit_b", "unet_tiny", "unet_diffusers_tiny"])
def test_all_of_our_networks_are_differentiated_layer_by_layer(edm: EDM, model: str) -> None:
    small = {"blocks": 1, "width": 16, "heads": 2, "embedding_width": 8, "registers": 3} if "dit" in model else {}
    changes = {"augmentation_label": True, "c_noise": "log_sigma"} | small
    node = OmegaConf.merge(OmegaConf.load(CONF / "model" / f"{model}.yaml"), changes)
    torch.manual_seed(2)
    network: Network = build(node, "model").build(3, 8, 5)
    wanted = gradients(network, edm, 3, 8, output="squared_output", normalise=True)
    x, condition = torch.randn(3, 3, 8, 8), torch.eye(5)[:3]
    found = wanted.of(x, Given(condition))
    assert set(wanted.unexplained) == {8, 4} and not any(wanted.unexplained.values())
    compare(found, one_by_one(wanted, x, condition))


@pytest.mark.parametrize("tokens", [1, 2, 60])
@pytest.mark.parametrize("make", [lambda: nn.Linear(20, 30), lambda: nn.Conv2d(5, 30, 2, bias=False)])
def test_lengths_are_those_of_the_gradients(make: Callable[[], nn.Module], tokens: int) -> None:
    """By either way; called twice, whose gradients add up before they have a length."""
    torch.manual_seed(3)
    module = make()
    assert isinstance(module, nn.Linear | nn.Conv2d)
    shape = (4, tokens, 20) if isinstance(module, nn.Linear) else (4, 5, 2, tokens + 1)
    inputs = [torch.randn(shape) for _ in range(2)]
    outputs = [module(x) for x in inputs]
    back = [torch.randn_like(y) for y in outputs]
    calls = [Call(module, (x,), {}, y) for x, y in zip(inputs, outputs, strict=True)]
    names = {name: name for name, _ in module.named_parameters()}
    found = Products(module, names, calls, back)
    lengths, sums = [], {name: torch.zeros(2, *value.shape) for name, value in module.named_parameters()}
    weights = torch.rand(2, 2)
    found.add_to(sums, weights)
    for cell in range(4):
        value = sum((module(x[cell : cell + 1]) * b[cell : cell + 1]).sum() for x, b in zip(inputs, back, strict=True))
        assert isinstance(value, Tensor)
        each = torch.autograd.grad(value, list(module.parameters()))
        lengths.append(sum(part.square().sum() for part in each))
        for name, part in zip(names, each, strict=True):
            sums[name][cell // 2] -= weights[cell // 2, cell % 2] * part
    torch.testing.assert_close(found.squares(), torch.stack(lengths), rtol=1e-4, atol=1e-4)
    assert all(value.abs().max() < 1e-4 for value in sums.values())
