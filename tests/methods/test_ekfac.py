"""EK-FAC influences against the exact Gauss-Newton matrix of a linear network, what is left out, and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.errors import UserError
from tdattr.methods import Context, gradient_features
from tdattr.methods.ekfac import EKFAC, LEFT_OUT
from tdattr.networks import Network
from tdattr.scoring import ekfac as curvature_module
from tdattr.scoring.ekfac import Curvature
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tdattr.seeding import generator, normal
from tdattr.store import Store
from tests.contexts import IDS, keep
from tests.methods.linear import VALUES, Flat

GRADIENTS = GradientConfig("loss", VALUES, "training", False, "all", ProjectionConfig("none", 8, 1))
METHOD = EKFAC("ekfac", GRADIENTS, 0.1)


@pytest.fixture
def make_world(make_context: Callable[..., Context], tmp_path: Path) -> Callable[..., Context]:
    """What makes a context of a network."""

    def make(network: Network, **changes: Any) -> Context:
        network = network.requires_grad_(False).eval()
        store = Store(tmp_path / f"store {len(changes)}", "cpu")
        return make_context(f1=lambda: network, f0=lambda: network, plan=keep(store), **changes)

    return make


def score(method: EKFAC, world: Context) -> Tensor:
    scorer = method.start(world)
    return torch.stack([scorer(query).scores for query in range(4)])


def test_of_a_linear_network_influences_are_exact(
    make_world: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Gauss-Newton matrix is a Kronecker product. Outputs are not sampled but take every direction in turn, at one
    level and noise, so that nothing is left to chance."""
    level, noise = torch.tensor([0.7]), normal(generator(1, "test.noise"), 1, 1, 8, 8)
    shared = NoiseSet(level.expand(VALUES), noise.expand(VALUES, 1, 8, 8))
    every = np.sqrt(VALUES) * torch.eye(VALUES).view(VALUES, 1, 8, 8)
    monkeypatch.setattr(gradient_features, "noise_set", lambda *_: shared)
    monkeypatch.setattr(curvature_module, "draw_outputs", lambda *_: every)
    network = Flat()
    world = make_world(network)
    found = score(METHOD, world).double()

    def inputs(x: Tensor) -> Tensor:
        scaled = (x.double() + 0.7 * noise.double()) / np.sqrt(0.7**2 + 0.5**2)
        return torch.cat([scaled.flatten(1), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)

    def gradients(x: Tensor) -> Tensor:
        """By hand: EDM's loss is the mean square of the network's output minus (x - c_skip (x + n)) / c_out."""
        weight = torch.cat([network.linear.weight, network.linear.bias[:, None]], dim=1).double()
        skip, out = 0.25 / (0.7**2 + 0.25), 0.7 * 0.5 / np.sqrt(0.7**2 + 0.25)
        noised = (x.double() + 0.7 * noise.double()).flatten(1)
        residuals = inputs(x) @ weight.T - (x.double().flatten(1) - skip * noised) / out
        return 2 / VALUES * residuals[:, :, None] * inputs(x)[:, None]

    items = world.data.train.x(IDS)
    matrix = 2 / VALUES * inputs(items).T @ inputs(items) / len(IDS)
    damped = matrix + 0.1 * torch.linalg.eigvalsh(matrix).mean() * torch.eye(len(matrix))
    solved = gradients(world.queries.x) @ torch.linalg.inv(damped)
    expected = solved.flatten(1) @ gradients(items).flatten(1).T / len(IDS)
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), rtol=1e-3, atol=1e-3)


def test_what_is_left_out_is_said(
    make_world: Callable[..., Context], tiny_dit: Callable[..., Network], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    few = replace(METHOD, gradients=replace(GRADIENTS, draws=3))
    network = tiny_dit(4, spread=0.05)
    world = make_world(network, conditions=torch.eye(4))
    left = few.start(world)(0).facts[LEFT_OUT]
    sizes = {name: value.numel() for name, value in network.named_parameters()}
    others = [name for name in sizes if name.split(".")[0] in ("registers", "unpatch", "null", "augmentation")]
    assert left == pytest.approx(sum(sizes[name] for name in others) / sum(sizes.values()))
    assert f"ekfac leaves out {100 * left:.1f} %" in caplog.text
    mlp = replace(few, gradients=replace(few.gradients, parameters="mlp"))
    assert mlp.start(world)(0).facts[LEFT_OUT] == 0


def test_damping_is_not_in_what_is_kept_of_the_curvature(make_world: Callable[..., Context]) -> None:
    world = make_world(Flat())
    one, other = (replace(METHOD, damping=damping) for damping in (0.1, 10.0))
    assert one.plan_curvature(world).address == other.plan_curvature(world).address
    assert not torch.allclose(score(one, world), score(other, world))


def test_what_cannot_be_is_refused(make_world: Callable[..., Context]) -> None:
    for change in ({"normalise": True}, {"projection": ProjectionConfig("sparse", 8, 1)}):
        with pytest.raises(UserError, match="leave method.gradients.projection.kind=none and normalise=false"):
            replace(METHOD, gradients=replace(GRADIENTS, **change))
    METHOD.check_network(Flat())
    network = Flat()
    network.linear = nn.Bilinear(2, 2, 2)
    with pytest.raises(UserError, match="knows linear layers and convolutions"):
        METHOD.check_network(network)


def test_what_is_computed_is_counted(make_world: Callable[..., Context]) -> None:
    needs = METHOD.work(make_world(Flat())).needs
    assert [plan.cost().work.gradients for plan in needs] == [2 * 8 * VALUES, 12 * VALUES]


def test_a_function_of_the_curvature_leaves_a_bias_that_it_does_not_know() -> None:
    rng = generator(0, "test.multiply")
    curvature = Curvature(*({"a.weight": value.double()} for value in (torch.eye(4), torch.eye(3), torch.ones(3, 4))))
    gradients = {"a.weight": normal(rng, 2, 3, 4).double(), "a.bias": normal(rng, 2, 3)}
    before = {name: value.clone() for name, value in gradients.items()}
    assert curvature.multiply(gradients, lambda name, values: 2 * values) == {"a.weight"}
    assert torch.equal(gradients["a.weight"], 2 * before["a.weight"])
    assert torch.equal(gradients["a.bias"], before["a.bias"])
