"""Classifier-free guidance: w * conditional + (1 - w) * unconditional, and nothing where there is nothing to guide."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion.guidance import Guided
from tdattr.networks import NOTHING, Given

X, C_NOISE, GIVEN = torch.zeros(2, 1, 8, 8), torch.zeros(2), Given(torch.tensor([[3.0], [7.0]]))


class Echo:
    """Returns the condition, or -1 where it was dropped or not given; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.calls += 1
        value = x.new_full((len(x), 1), -1.0) if given.condition is None else given.condition
        value = value if given.drop is None else torch.where(given.drop[:, None], -1.0, value)
        return value[..., None, None].expand_as(x)


@pytest.mark.parametrize(
    ("weight", "first", "second"),
    [(2.0, 7.0, 15.0), (3.0, 11.0, 23.0), (0.5, 1.0, 3.0), (0.0, -1.0, -1.0), (1.0, 3.0, 7.0), (None, 3.0, 7.0)],
)
def test_arithmetic(weight: float | None, first: float, second: float) -> None:
    out = Guided(Echo(), weight)(X, C_NOISE, GIVEN)
    assert out.shape == X.shape
    assert out.flatten(1).unique(dim=1).tolist() == [[first], [second]]


@pytest.mark.parametrize("weight", [None, 1.0])
def test_without_effect_it_costs_one_call(weight: float | None) -> None:
    network = Echo()
    Guided(network, weight)(X, C_NOISE, GIVEN)
    assert network.calls == 1


@pytest.mark.parametrize("weight", [None, 1.0, 2.0])
def test_unconditional_network_is_left_alone(weight: float | None) -> None:
    network = Echo()
    assert (Guided(network, weight)(X, C_NOISE, NOTHING) == -1).all()
    assert network.calls == 1


def test_unconditional_half_is_the_learned_null_condition(tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.3)
    rng = torch.Generator().manual_seed(0)
    x, c_noise = torch.randn(3, 1, 8, 8, generator=rng), torch.randn(3, generator=rng)
    condition = torch.eye(4)[:3]
    null = network.get_parameter("null").detach().expand(3, -1)
    expected = 2.5 * network(x, c_noise, Given(condition)) - 1.5 * network(x, c_noise, Given(null))
    torch.testing.assert_close(Guided(network, 2.5)(x, c_noise, Given(condition)), expected, atol=1e-5, rtol=1e-4)
