"""ELBOs as GUDA takes them, of pixels (CIFAR-10) and of latents (Stable Diffusion)."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import typed
from tdattr.diffusion.ddpm import DDPM
from tdattr.networks import NOTHING, Given
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.elbo import ElboConfig, elbo_terms, kl_weights
from tests.conftest import CONF
from tests.contexts import make_queries
from tests.diffusion.fakes import variant
from tests.parity.golden import Golden, golden

CIFAR10 = {"timesteps": 4000, "schedule": "cosine", "sampler": "ancestral"}
STABLE_DIFFUSION = {"schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "sampler": "dpm_solver"}


@pytest.fixture
def published() -> ElboConfig:
    node = OmegaConf.merge(OmegaConf.load(CONF / "elbo" / "default.yaml"), {"importance": None})  # a method's to set
    return typed(ElboConfig, OmegaConf.to_container(node), "elbo")


class Predictor(nn.Module):
    """Predicts the eps_hat of the item that the condition, one-hot, says."""

    def __init__(self, predicted: Tensor) -> None:
        super().__init__()
        self.predicted = nn.Parameter(predicted)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        assert given.condition is not None
        return self.predicted[given.condition.argmax(1)]


def kl_terms(entry: Golden, diffusion: DDPM, config: ElboConfig, terms: Tensor, patch: pytest.MonkeyPatch) -> Tensor:
    """Of the entry's items, under the entry's noise instead of that drawn for each item and term."""
    inputs = entry.tensors()
    eps = inputs["eps"]
    patch.setattr("tdattr.scoring.elbo.generator", lambda seed, purpose, item, term, draw: item)
    patch.setattr("tdattr.scoring.elbo.normal", lambda item, *shape: eps[item])
    network = Predictor(eps + entry.constants["factor of the deviation"] * inputs["deviation"])
    items = QueryItems(make_queries(inputs["x"], pd.DataFrame(index=range(len(eps))), torch.eye(len(eps))))
    return elbo_terms(diffusion, network, items, config, terms, 0, 64, torch.device("cpu"), "test")


def weights(diffusion: DDPM, terms: Any) -> Tensor:
    return kl_weights(diffusion, diffusion.discrete_levels(0), torch.as_tensor(terms))


def test_alpha_bar() -> None:
    entry = golden("guda.alpha_bar")
    diffusion = variant("ddpm", **CIFAR10 | {"timesteps": entry.constants["timesteps"]})
    entry.check("alpha_bar", diffusion.alpha_bar[entry.constants["t"]])


def test_weights() -> None:
    entry = golden("guda.kl_weight")
    found = weights(variant("ddpm", **CIFAR10), entry.constants["t"])
    entry.check("definition in double precision", found)
    entry.check("published code (float32 alpha-bar)", found)


def test_terms(published: ElboConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = golden("guda.kl_terms")
    t = torch.tensor(entry.constants["t"])
    found = kl_terms(entry, variant("ddpm", **CIFAR10), published, t, monkeypatch)
    entry.check("definition in double precision", found)
    entry.check("published code", found)


def test_the_terms_that_are_visited(published: ElboConfig) -> None:
    entry = golden("guda.elbo_terms_visited")
    terms = published.terms(variant("ddpm", **CIFAR10))
    entry.check("count", len(terms))
    entry.check("lowest", terms[0])
    entry.check("highest", terms[-1])
    (stride,) = terms.diff().unique()
    entry.check("stride", stride)


def test_of_latents(published: ElboConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = golden("sd15.elbo")
    diffusion = variant("ddpm", **STABLE_DIFFUSION)
    terms = published.terms(diffusion)
    assert (len(terms), int(terms[0]), int(terms[-1])) == (99, 10, 990)
    all_weights = weights(diffusion, terms)
    entry.check("weights at t", weights(diffusion, entry.constants["t"]))
    entry.check("sum of the 99 weights (t = 10, 20 … 990)", all_weights.sum())
    entry.check("share of the first ten of it", all_weights[:10].sum() / all_weights.sum())
    found = kl_terms(entry, diffusion, published, terms, monkeypatch)
    at = np.searchsorted(terms, entry.constants["t"])
    entry.check("KL terms at t, per latent", found[:, at])
    entry.check("ELBO over the 99 terms", -found.sum(1))
