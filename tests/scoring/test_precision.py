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
        self.fp32: set[tuple[str, str]] = set()

    def forward(self, x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
        self.types.add((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        self.fp32.add(settings())
        return self.network(x, c_noise, given)


def settings() -> tuple[str, str]:
    """Of torch, for matrix products and convolutions."""
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", None])
def test_the_losses_are_float32_whatever_the_network_computes_in(
    precision: str | None, edm: EDM, plain: nn.Module, tiny_data: Prepared
) -> None:
    network = Seen(plain)
    before = settings()
    items = TrainingItems(tiny_data.train, IDS)
    exact = LossModel(edm, plain, CPU, 100).table(items, NOISE)
    model = LossModel(edm, network, CPU, 100, precision=precision)  # type: ignore[arg-type]
    losses = model.table(items, NOISE)
    assert losses.dtype == torch.float32
    assert network.types == {torch.bfloat16 if precision == "bfloat16" else torch.float32}
    assert network.fp32 == {{"float32": ("ieee", "ieee"), "tf32": ("tf32", "tf32")}.get(str(precision), before)}
    torch.testing.assert_close(losses, exact, rtol=1e-2 if precision == "bfloat16" else 1e-6, atol=1e-6)
    assert torch.equal(losses, exact) == (precision != "bfloat16")
    assert settings() == before


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_what_torch_was_set_to_comes_back(chosen: str) -> None:
    """Also after an error, and so that those who ask for it in the older way are answered."""
    usual = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(chosen)
        before = settings()
        with pytest.raises(ValueError, match="wrong"), network_precision("tf32", CPU):
            raise ValueError("wrong")
        with network_precision("float32", CPU):
            assert settings() == ("ieee", "ieee")
        assert settings() == before and torch.get_float32_matmul_precision() == chosen
        assert torch.backends.cuda.matmul.allow_tf32 == (chosen != "highest")
    finally:
        torch.set_float32_matmul_precision(usual)
