"""The network is evaluated in the precision that is asked for, and nothing of it stays behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.networks import Given
from tdattr.scoring.cells import LossModel, TrainingItems
from tdattr.scoring.precision import network_precision
from tests.scoring.losses import CPU, IDS, NOISE


@pytest.fixture
def plain(tiny_dit: Callable[..., nn.Module]) -> nn.Module:
    return tiny_dit(4, spread=0.2)


class Seen(nn.Module):
    """Notes the precision of a matrix product, and its settings, whenever it is called."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.types: set[torch.dtype] = set()
        self.tf32: set[tuple[bool, bool]] = set()

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.types.add((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        self.tf32.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return self.network(x, c_noise, given)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_losses_are_float32_whatever_the_network_computes_in(
    precision: str, edm: EDM, plain: nn.Module, tiny_data: Prepared
) -> None:
    network = Seen(plain)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    items = TrainingItems(tiny_data.train, IDS)
    exact = LossModel(edm, plain, CPU, 100).table(items, NOISE)
    model = LossModel(edm, network, CPU, 100, precision=precision)  # type: ignore[arg-type]
    losses = model.table(items, NOISE)
    assert losses.dtype == torch.float32
    assert network.types == {torch.bfloat16 if precision == "bfloat16" else torch.float32}
    if precision != "bfloat16":
        assert network.tf32 == {(precision == "tf32",) * 2}
    torch.testing.assert_close(losses, exact, rtol=1e-2 if precision == "bfloat16" else 1e-6, atol=1e-6)
    assert torch.equal(losses, exact) == (precision != "bfloat16")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_settings_come_back_after_an_error() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ValueError, match="wrong"), network_precision("tf32", CPU):
        raise ValueError("wrong")
    assert torch.backends.cuda.matmul.allow_tf32 == before
