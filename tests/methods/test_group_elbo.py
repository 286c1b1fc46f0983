"""The bounds that scores of groups are made of, with all terms and with those that are drawn."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from tdattr.counterfactuals import Trained
from tdattr.methods import Context
from tdattr.methods.group_elbo import differences, elbos
from tdattr.scoring.elbo import ElboConfig
from tdattr.store import Store
from tests.contexts import keep
from tests.methods import known

ALL = ElboConfig(t_min=1, t_max=None, stride=1, timesteps=60, draws=1, importance=None)


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
        made.append(Trained(f"model {seed}", partial(lambda network: network, network)))
    return made


@pytest.fixture
def world(make_context: Callable[..., Context], models: list[Trained], tmp_path: Path) -> Context:
    context = make_context(conditions=torch.eye(4), plan=keep(Store(tmp_path / "store", "cpu")))
    return replace(context, f1=models[0])


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


def test_terms_drawn_by_their_size_have_no_error_where_all_models_share_it(
    make_context: Callable[..., Context], tmp_path: Path
) -> None:
    """Every term of these networks is a number of the model and query times one of the term."""
    offsets = [torch.tensor([0.5, 0.1, 1.0, 0.2]), torch.tensor([0.0, 2.0, 0.3, 0.2])]
    models = [known.Models().make(f"model {index}", values) for index, values in enumerate(offsets)]
    plain = make_context(
        images=known.IMAGES,
        conditions=torch.eye(known.QUERIES),
        diffusion=known.DIFFUSION,
        plan=keep(Store(tmp_path / "store", "cpu")),
    )
    context = replace(plain, f1=models[0])
    expected = torch.stack([known.total(values) for values in offsets])
    for importance, count in ((None, 3), (2, 2), (1, 1)):
        terms = elbos(context, replace(known.ELBO, importance=importance), models)
        assert terms.shape[2] <= count
        torch.testing.assert_close(terms.sum(2), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(differences(terms), (expected[1:] - expected[:1]).T, rtol=1e-4, atol=1e-4)
