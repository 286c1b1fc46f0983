"""Shapley values from the values of sets, and of groups from models whose bounds are known: games by hand."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr.ids import Ids
from tdattr.methods import Context, guda
from tdattr.methods.shapley import Shapley, shapley_values
from tdattr.seeding import generator
from tdattr.store import Store
from tdattr.unlearning.objectives.gradient_ascent import GradientAscent
from tests.contexts import NoCounterfactuals, keep
from tests.methods.known import DIFFUSION, ELBO, IMAGES, QUERIES, Known, Models, Unlearning, total
from tests.methods.unlearning import UNLEARN

PLAYERS = 4
WORTH = torch.tensor([[1.0, 2.0, 0.0, 5.0], [0.5, 0.0, -1.0, 3.0]], dtype=torch.float64)  # [query, group]

GROUPS = {"round": np.array([2, 3, 5]), "square": np.array([7, 11]), "wavy": np.array([13, 17, 47])}
ORDERS, SEED = 5, 5
BASE = torch.tensor([9.0, 4.0, 2.0, 7.0])  # the squared offsets of the model of no group
GAINS = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 2.0], [0.2, 0.3, 0.1], [3.0, -1.0, 0.0]])  # [query, group]


def game(bonus: float) -> dict[frozenset[int], torch.Tensor]:
    """Every group is worth something by itself, and 0 and 1 together a bonus."""
    sets = [frozenset(each) for size in range(PLAYERS + 1) for each in combinations(range(PLAYERS), size)]
    return {each: WORTH[:, sorted(each)].sum(1) + bonus * ({0, 1} <= each) for each in sets}


def test_all_orders_give_the_exact_values() -> None:
    found, _ = shapley_values(game(4.0), [list(order) for order in permutations(range(PLAYERS))])
    torch.testing.assert_close(found, WORTH + torch.tensor([2.0, 2.0, 0, 0], dtype=torch.float64))


def test_they_add_up_to_what_all_groups_gain_and_an_additive_game_has_no_error() -> None:
    orders = [[2, 0, 1, 3], [3, 1, 0, 2], [0, 1, 2, 3]]
    found, errors = shapley_values(game(0.0), orders)
    torch.testing.assert_close(found, WORTH)
    assert errors.abs().max() < 1e-12
    found, errors = shapley_values(game(4.0), orders)
    torch.testing.assert_close(found.sum(1), WORTH.sum(1) + 4)
    gains = torch.tensor([0.0, 4.0, 0.0], dtype=torch.float64)  # of group 0 over the three orders, beyond its own worth
    torch.testing.assert_close(errors[:, 0], gains.std().expand(2) / 3**0.5)


def offsets(members: set[int], bonus: float) -> torch.Tensor:
    """Of the model of these groups: every one takes its gain from the squares, and 0 and 1 together a bonus."""
    return (BASE - GAINS[:, sorted(members)].sum(1) - bonus * ({0, 1} <= members)).sqrt()


@pytest.mark.parametrize("bonus", [0.0, 0.5])
def test_scores_and_their_standard_errors_by_hand(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bonus: float
) -> None:
    """Groups 0 and 1 share the bonus by how often each of them comes second; what group 2 gains is always the same."""

    def after(ids: Ids) -> torch.Tensor:
        return offsets({place for place, members in enumerate(GROUPS.values()) if not set(members) & set(ids)}, bonus)

    unlearning = Unlearning(after)
    monkeypatch.setattr(guda, "unlearn_group", unlearning)
    unlearn = replace(UNLEARN, steps=3)
    method = Shapley("shapley", ORDERS, GradientAscent("gradient_ascent", 0.06), unlearn, None, False, ELBO)
    models = NoCounterfactuals(needs=method.needs, groups=lambda: GROUPS)
    plain = make_context(
        images=IMAGES,
        conditions=torch.eye(QUERIES),
        diffusion=DIFFUSION,
        f0=lambda: Known(BASE.sqrt()),
        seed=SEED,
        counterfactuals=models,
        plan=keep(Store(tmp_path / "store", "cpu")),
    )
    scorer = method.start(replace(plain, f1=Models().make("f1", offsets({0, 1, 2}, bonus))))

    orders = [generator(SEED, "shapley", number).permutation(3).tolist() for number in range(ORDERS)]
    second = np.array([[order.index(0) > order.index(1), order.index(1) > order.index(0), False] for order in orders])
    assert 0 < second[:, 0].sum() < ORDERS
    nats = float(total(torch.ones(QUERIES))[0])  # of a squared offset of 1
    for query in range(QUERIES):
        scored = scorer(query)
        expected = nats * (GAINS[query].numpy() + bonus * second.mean(0))
        errors = nats * bonus * second.std(0, ddof=1) / ORDERS**0.5
        assert scored.standard_errors is not None and scored.standard_errors.shape == scored.scores.shape
        np.testing.assert_allclose(scored.scores, expected, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(scored.standard_errors, errors, rtol=1e-4, atol=1e-3)
        assert scored.facts["standard_error"] == pytest.approx(float(scored.standard_errors.mean()))
    sets = {frozenset(order[:size]) for order in orders for size in (1, 2)}
    assert len(unlearning.calls) == len(sets)  # each once, whichever order it is met in
    assert scorer(0).facts["training_steps"] == 3 * len(sets)
