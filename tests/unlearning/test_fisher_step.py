"""One step in the geometry of a diagonal Fisher information, by hand."""

import pytest
import torch
from torch import Tensor, nn

from tdattr.unlearning.fisher_step import FisherStep


def parameters(*grads: Tensor) -> list[nn.Parameter]:
    """Ones with those gradients."""
    found = [nn.Parameter(torch.ones_like(grad)) for grad in grads]
    for parameter, grad in zip(found, grads, strict=True):
        parameter.grad = grad
    return found


def test_the_step_goes_down_the_gradient_over_the_fisher() -> None:
    first, second = parameters(torch.tensor([2.0, -3.0]), torch.tensor([[4.0]]))
    known = [torch.tensor([0.5, 6.0]).double(), torch.tensor([[8.0]]).double()]
    FisherStep([first, second], fisher=known, rate=0.1).step()
    assert torch.allclose(first, torch.tensor([1 - 0.1 * 2 / 0.5, 1 + 0.1 * 3 / 6]))
    assert torch.allclose(second, torch.tensor([[1 - 0.1 * 4 / 8]]))
    assert first.dtype == torch.float32


def test_what_has_no_fisher_information_stays() -> None:
    (parameter,) = parameters(torch.tensor([5.0, 0.0, 1.0]))
    FisherStep([parameter], fisher=[torch.tensor([0.0, 0.0, 2.0]).double()], rate=1.0).step()
    assert parameter.tolist() == [1.0, 1.0, 0.5]


def test_small_figures_are_divided_in_double_precision() -> None:
    (parameter,) = parameters(torch.tensor([1e-25]))
    FisherStep([parameter], fisher=[torch.tensor([1e-50], dtype=torch.float64)], rate=1e-26).step()
    assert parameter.item() == pytest.approx(0.9, rel=1e-5)  # 1e-50 is zero in float32


def test_a_closure_is_called_with_gradients_on() -> None:
    (parameter,) = parameters(torch.tensor([0.0]))
    optimizer = FisherStep([parameter], fisher=[torch.tensor([2.0]).double()], rate=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (3 * parameter).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert parameter.item() == 0.25


def test_every_parameter_needs_its_own_information() -> None:
    grads = torch.ones(2), torch.ones(2)
    with pytest.raises(ValueError):
        FisherStep(parameters(*grads), fisher=[torch.ones(2)], rate=1.0).step()
    with pytest.raises(ValueError):
        FisherStep(parameters(torch.ones(2)), fisher=[torch.ones(3)], rate=1.0).step()
