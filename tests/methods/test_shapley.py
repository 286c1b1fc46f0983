"""Shapley values from the values of sets: a game whose answer is known."""

from itertools import combinations, permutations

import torch

from tdattr.methods.shapley import shapley_values

PLAYERS = 4
WORTH = torch.tensor([[1.0, 2.0, 0.0, 5.0], [0.5, 0.0, -1.0, 3.0]], dtype=torch.float64)  # [query, group]


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
