"""The bounds that scores of groups are made of, with all terms and with those that are drawn."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from tdattr.artifacts import Store
from tdattr.methods import Context, Trained
from tdattr.methods.group_elbo import differences, elbos
from tdattr.scoring.elbo import ElboConfig
from tests.contexts import stored

ALL = ElboConfig(t_min=1, t_max=None, stride=1, steps=60, draws=1, importance=None)


@pytest.fixture
def models(tiny_dit: Callable[..., nn.Module]) -> list[Trained]:
    """F1, and two that are a little different."""
    made = []
    for seed in range(3):
        torch.manual_seed(0)
        network = tiny_dit(4, spread=0.1).requires_grad_(False)
        torch.manual_seed(seed)
        for value in network.parameters():
            value += 0.02 * seed * torch.randn_like(value)
        made.append(Trained(f"model {seed}", Path(), partial(lambda network: network, network)))
    return made


@pytest.fixture
def world(make_context: Callable[..., Context], models: list[Trained], tmp_path: Path) -> Context:
    kept = stored(Store(tmp_path / "store", "cpu"))
    return make_context(conditions=torch.eye(4), model=models[0], queries="queries", **kept)


def test_drawn_terms_give_the_scores_of_all_of_them(world: Context, models: list[Trained]) -> None:
    every = elbos(world, ALL, models)
    assert differences(every).shape == (4, 2)
    for count, error in ((8, 0.1), (20, 0.03)):
        terms = elbos(world, replace(ALL, importance=count), models)
        assert terms.shape[2] <= count
        torch.testing.assert_close(terms.sum(2), every.sum(2), rtol=error, atol=0)


def test_terms_are_drawn_by_their_size_under_f1_whatever_is_compared(world: Context, models: list[Trained]) -> None:
    config = replace(ALL, importance=15)
    together = elbos(world, config, models)
    alone = elbos(world, config, models[2:])
    assert torch.equal(together[2], alone[0])
