"""Losses and gradients in batches, and in other precisions."""

from collections.abc import Callable

import pytest
import torch

from tdattr.doctor.numerics import choose_part, compare_batches, compare_gradients, compare_precisions
from tdattr.doctor.sample import Sample
from tdattr.networks import NOTHING, Given
from tdattr.pipeline.train import build_random
from tests.doctor.memorising import Memorising

pytestmark = pytest.mark.slow


class Mixing(Memorising):
    """Every item sees the mean of the batch."""

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, given: Given = NOTHING) -> torch.Tensor:
        output = super().forward(x, c_noise, given)
        return output + 0.5 * output.mean(0, keepdim=True)


def test_a_network_of_ours_is_computed_alike_in_any_batch(sample: Sample) -> None:
    network = build_random(sample.ws, 2).eval()
    for parameter in network.parameters():  # of which some are zero
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    assert compare_batches(sample, network).verdict == "fine"
    [precision] = compare_precisions(sample, network)
    assert precision.check == "precision bfloat16" and precision.verdict == "fine"
    assert 0 < precision.numbers["difference"] < 0.05
    found = compare_gradients(sample, network, 3)
    assert found.verdict == "fine" and "3 items by all parameters" in found.said


def test_items_that_see_each_other_are_found(sample: Sample) -> None:
    ws = sample.ws
    network = Mixing(ws.diffusion, ws.data.train, ws.ids).eval()  # type: ignore[arg-type]
    found = compare_batches(sample, network)
    assert found.verdict == "broken" and "no batch normalisation" in (found.remedy or "")


def test_a_precision_that_mixes_items_up_is_found(sample: Sample, memorise: Callable[..., Memorising]) -> None:
    class Coarse(Memorising):
        def forward(self, x: torch.Tensor, c_noise: torch.Tensor, given: Given = NOTHING) -> torch.Tensor:
            output = super().forward(x, c_noise, given)
            coarse = torch.is_autocast_enabled("cpu")
            return output + torch.randn(output.shape) if coarse else output

    ws = sample.ws
    [found] = compare_precisions(sample, Coarse(ws.diffusion, ws.data.train, ws.ids).eval())  # type: ignore[arg-type]
    assert found.verdict == "look" and found.remedy == "trainer.scoring_precision=float32, the default"


def test_of_a_large_network_a_part_is_differentiated(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_random(sample.ws, 2)
    assert choose_part(network, 4) == "all"
    monkeypatch.setattr("tdattr.doctor.numerics.MOST_VALUES", 8)
    part = choose_part(network, 4)
    sizes = {
        name: sum(network.get_parameter(each).numel() for each in network.parameter_names(name))
        for name in network.parts
    }
    assert sizes[part] == min(sizes.values()) < sizes["all"]
