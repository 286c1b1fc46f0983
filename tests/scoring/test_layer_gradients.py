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
from tdattr.networks.lora import LoraConfig, adapt
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


class Gated(Network):
    """A network that uses one parameter at low noise only, as itself, and another one in two ways."""

    parts: ClassVar = {"all": ("*",)}
    conditional = False
    knows_augmentation = False

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.level = nn.Linear(1, 8)
        self.detail = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        gate = torch.sigmoid(-10 * c_noise)[:, None, None, None]
        h = self.first(x).sin() + self.level(c_noise[:, None])[:, :, None, None]
        return self.last(h + gate * (self.detail + 1e-3 * self.level.bias[:, None, None]))


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


@pytest.mark.parametrize("batch_size", [3, 64])  # 3: not all draws at once
def test_a_parameter_that_is_used_at_low_noise_only(edm: EDM, batch_size: int) -> None:
    """At the highest noise its gradient is zero, and what the other one is used for besides is next to nothing."""
    torch.manual_seed(5)
    wanted = gradients(Gated(), edm, 1, batch_size)
    x = torch.randn(3, 1, 8, 8)
    found, expected = wanted.of(x, NOTHING), one_by_one(wanted, x, None)
    for name, value in wanted.by_name(found).items():
        compare(value, wanted.by_name(expected)[name])
    assert wanted.by_name(found)["detail"].norm() > 0.1
    assert {frozenset(others) for others in wanted.unexplained.values()} == {frozenset({"detail", "level.bias"})}


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


def test_adapters_are_differentiated_layer_by_layer(edm: EDM) -> None:
    changes = {"augmentation_label": False, "c_noise": "log_sigma", "dropout": 0.0}
    node = OmegaConf.merge(OmegaConf.load(CONF / "model" / "unet_diffusers_tiny.yaml"), changes)
    torch.manual_seed(2)
    network: Network = build(node, "model").build(3, 8, 5)
    adapt(network, LoraConfig(2, None, ["to_q", "to_k", "to_v", "conv1"]))
    wanted = gradients(network, edm, 3, 8, normalise=True)
    x = torch.randn(3, 3, 8, 8)
    found = wanted.of(x, NOTHING)
    assert all("lora" in name for name in wanted.names) and not any(wanted.unexplained.values())
    compare(found, one_by_one(wanted, x, None))


def test_lengths_are_not_negative_where_tokens_cancel() -> None:
    """Rounding would make half of them so, and their roots NaN."""
    torch.manual_seed(3)
    layer = nn.Linear(32, 32, bias=False)
    x, back = torch.randn(200, 1, 32).repeat(1, 8, 1), torch.randn(200, 8, 32)
    back = back - back.mean(1, keepdim=True)
    squares = Products(layer, {"weight": "weight"}, [Call(layer, (x,), {}, layer(x))], [back]).squares()
    assert (squares >= 0).all() and squares.max() < 1e-2


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
