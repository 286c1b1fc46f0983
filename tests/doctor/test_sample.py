"""The items and the noise at which networks are compared."""

import numpy as np
import pytest
import torch
from torch import nn

from tdattr.doctor.sample import Changed, Sample, draw_sample
from tdattr.networks import NOTHING, Given
from tdattr.pipeline.workspace import Workspace

pytestmark = pytest.mark.slow


class Blind(nn.Module):
    """Predicts, as EDM's denoiser, what it is given: no noise."""

    def __init__(self, data: float) -> None:
        super().__init__()
        self.data = data

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, given: Given = NOTHING) -> torch.Tensor:
        sigma = (4 * c_noise).exp().view(-1, 1, 1, 1)
        total = (sigma**2 + self.data**2).sqrt()
        return (x * total - x * total * (self.data / total) ** 2) / (sigma * self.data / total)


def test_who_sees_no_noise_misses_all_of_it(ws: Workspace, sample: Sample) -> None:
    errors = sample.errors(Blind(ws.cfg.diffusion.sigma_data), sample.items, "")
    assert errors.shape == (40, 4)
    np.testing.assert_allclose(errors.mean(), 1, atol=0.05)


def test_levels_stand_for_equal_shares_of_a_training_with_least_noise_first(ws: Workspace) -> None:
    levels = draw_sample(ws, 4, 5, 1).levels
    expected = torch.distributions.Normal(-1.2, 1.2).icdf(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])).exp()
    torch.testing.assert_close(levels, expected, rtol=0.15, atol=0)


def test_held_out_are_items_of_the_test_split_or_those_that_f1_does_not_see(ws: Workspace, sample: Sample) -> None:
    assert sample.held_out.split is ws.data.test and len(sample.held_out) == 40
    assert len(np.unique(sample.items.ids)) == 40 and set(sample.items.ids) <= set(ws.ids)


def test_a_guess_is_the_best_linear_one_of_white_noise(ws: Workspace, sample: Sample) -> None:
    x = 0.7 * torch.randn(4000, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.3
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for level, guessed in zip(sample.levels, sample.guess(x), strict=True):
        noised = x + level * noise - 0.3
        predicted = noised * (noised * noise).mean() / noised.square().mean()
        np.testing.assert_allclose(guessed, float((predicted - noise).square().mean()), rtol=0.02)


def test_changed_items_take_the_conditions_of_others(sample: Sample) -> None:
    order = np.roll(np.arange(40), 7)
    changed = Changed(sample.items, lambda x, rows: x + torch.from_numpy(rows).view(-1, 1, 1, 1), order)
    rows = np.array([3, 0, 21])
    x, given = changed.take(rows)
    usual, told = sample.items.take(rows)[0], sample.items.take(order[rows])[1]
    assert given.condition is not None and told.condition is not None
    assert torch.equal(given.condition, told.condition)
    torch.testing.assert_close(x, usual + torch.tensor([3.0, 0, 21]).view(-1, 1, 1, 1))
