"""Evidence lower bounds against the KL of two Gaussians written out, and what they must not depend on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.diffusion.ddpm import DDPM
from tdattr.diffusion.edm import EDM
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.elbo import ElboConfig, draw_terms, elbo_terms
from tdattr.seeding import generator, normal
from tests.contexts import make_queries
from tests.diffusion.fakes import variant

CONFIG = ElboConfig(t_min=3, t_max=None, stride=7, timesteps=40, draws=1, importance=None)
CPU = torch.device("cpu")
IMAGES = torch.tanh(normal(generator(0, "test.elbo"), 3, 1, 8, 8))
CONDITIONS = torch.eye(4)[:3]


@pytest.fixture
def ddpm() -> DDPM:
    return variant("ddpm", timesteps=40, schedule="cosine", steps=5)


def found(diffusion: Diffusion, network: nn.Module, config: ElboConfig = CONFIG, batch: int = 8) -> Tensor:
    items = QueryItems(make_queries(IMAGES, pd.DataFrame(index=range(3)), CONDITIONS))
    return elbo_terms(diffusion, network, items, config, config.terms(diffusion), 5, batch, CPU, "test")


def test_ddpm_terms_are_the_kl_of_the_two_posteriors(ddpm: DDPM, tiny_dit: Callable[..., nn.Module]) -> None:
    """Ho et al. 2020, eq. 6 to 8, with both variances the posterior's."""
    network = tiny_dit(4, spread=0.1)
    kept = ddpm.alpha_bar
    terms = found(ddpm, network)
    places = list(range(3, 34, 7))
    assert terms.shape == (3, len(places)) and terms.dtype == torch.float64
    for image in range(3):
        for column, t in enumerate(places):
            noise = normal(generator(5, "elbo", image, t, 0), 1, 8, 8)[None]
            x = IMAGES[image : image + 1]
            noised = kept[t].sqrt() * x + (1 - kept[t]).sqrt() * noise
            level = torch.tensor([float(t)])
            with torch.no_grad():
                eps = ddpm.output(network, noised.float(), level, Given(CONDITIONS[image : image + 1])).double()
            clean = (noised.double() - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
            alpha = kept[t] / kept[t - 1]
            variance = (1 - alpha) * (1 - kept[t - 1]) / (1 - kept[t])
            apart = kept[t - 1].sqrt() * (1 - alpha) / (1 - kept[t]) * (x.double() - clean)
            expected = apart.square().sum() / (2 * variance)
            assert float(terms[image, column]) == pytest.approx(float(expected), rel=1e-4)


def test_edm_terms_are_those_of_a_continuous_process_in_steps(edm: EDM, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.1)
    sigmas = edm.generation_levels(40).flip(0).double()
    terms = found(edm, network)
    for column, t in enumerate(range(3, 34, 7)):
        noise = normal(generator(5, "elbo", 1, t, 0), 1, 8, 8)[None]
        sigma = sigmas[t].float()[None]
        with torch.no_grad():
            clean = edm.denoise(network, IMAGES[1:2] + sigma * noise, sigma, Given(CONDITIONS[1:2]))
        expected = (sigmas[t - 1] ** -2 - sigmas[t] ** -2) / 2 * (IMAGES[1:2] - clean).double().square().sum()
        assert float(terms[1, column]) == pytest.approx(float(expected), rel=1e-3)


def test_neither_the_batch_nor_the_network_changes_the_noise(ddpm: DDPM, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.1)
    torch.testing.assert_close(found(ddpm, network, batch=2), found(ddpm, network, batch=100), rtol=1e-5, atol=1e-8)
    levels: list[Tensor] = []

    class Watched(nn.Module):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            levels.append(x)
            return 0 * x

    for _ in range(2):
        found(ddpm, Watched(), batch=100)
    assert torch.equal(levels[0], levels[1])


def test_more_draws_are_their_mean(ddpm: DDPM, tiny_dit: Callable[..., nn.Module]) -> None:
    network = tiny_dit(4, spread=0.1)
    one, many = found(ddpm, network), found(ddpm, network, replace(CONFIG, draws=30))
    assert not torch.equal(one, many)
    np.testing.assert_allclose(many.sum(), one.sum(), rtol=0.3)


def test_which_terms_are_visited(ddpm: DDPM, edm: EDM) -> None:
    published = ElboConfig(t_min=10, t_max=None, stride=10, timesteps=1000, draws=1, importance=None)
    places = published.terms(replace(ddpm, timesteps=4000))
    assert (len(places), int(places[0]), int(places[-1])) == (399, 10, 3990)
    assert ElboConfig(1, 10, 3, 40, 1, None).terms(ddpm).tolist() == [1, 4, 7, 10]
    assert ElboConfig(1, 39, 20, 40, 1, None).terms(edm).tolist() == [1, 21]
    with pytest.raises(UserError, match=r"elbo.t_max=40 is beyond the last of 40 levels, 39"):
        ElboConfig(1, 40, 20, 40, 1, None).terms(edm)
    with pytest.raises(UserError, match=r"visits no term: t_min=50"):
        ElboConfig(50, None, 7, 40, 1, None).terms(ddpm)
    empty = replace(ddpm, prediction="v_prediction", zero_terminal_snr=True, c_noise="timestep")
    last = ddpm.timesteps - 1
    with pytest.raises(UserError, match=rf"elbo.t_max={last} visits a level at which nothing is left of an item"):
        ElboConfig(1, None, 1, 40, 1, None).terms(empty)
    assert len(ElboConfig(1, last - 1, 1, 40, 1, None).terms(empty)) == last - 1


def test_drawn_terms_sum_to_all_of_them_on_average() -> None:
    rng = np.random.default_rng(0)
    sizes = torch.from_numpy(rng.exponential(size=30) ** 2)
    values = sizes * torch.from_numpy(rng.normal(1, 0.3, 30))  # about as large as the sizes
    sums = []
    for _ in range(4000):
        places, weights = draw_terms(sizes, 6, rng)
        assert len(places.unique()) == len(places) <= 6
        sums.append(float((values[places] * weights).sum()))
    assert np.mean(sums) == pytest.approx(float(values.sum()), abs=4 * np.std(sums) / 4000**0.5)
    even = [float(values[rng.integers(5) :: 5].sum() * 5) for _ in range(4000)]  # as many terms, evenly spread
    assert np.std(sums) < np.std(even) / 2
    places, weights = draw_terms(sizes, 10000, rng)
    assert float((values[places] * weights).sum()) == pytest.approx(float(values.sum()), rel=0.02)
