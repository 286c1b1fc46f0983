"""The distribution of an anchor's style, in cases that are known."""

import math

import pytest
import torch

from tdattr.seeding import generator, normal
from tdattr.unlearning.anchors import anchor_distribution, mean_direction

PROTOTYPES = normal(generator(0, "test.prototypes"), 6, 5)
DESCRIBED = normal(generator(0, "test.described"), 5)


@pytest.mark.parametrize("forgotten", range(6))
def test_it_is_a_distribution_over_the_other_styles(forgotten: int) -> None:
    for beta, eta in ((0.0, 0.0), (2.0, 0.3), (50.0, 0.0), (2.0, 1.0), (-3.0, 0.1)):
        found = anchor_distribution(PROTOTYPES, DESCRIBED, forgotten, beta, eta)
        assert found.sum().item() == pytest.approx(1)
        assert found[forgotten] == 0
        others = found[torch.arange(6) != forgotten]
        assert (others >= eta / 5 - 1e-12).all()
        if beta == 0 or eta == 1:
            torch.testing.assert_close(others, torch.full((5,), 1 / 5, dtype=torch.float64))


def test_two_styles_are_apart_by_the_exponential_of_their_cosines() -> None:
    prototypes = torch.tensor([[9.0, 0.0], [2.0, 0.0], [0.0, 0.5], [-7.0, 0.0]])
    found = anchor_distribution(prototypes, torch.tensor([3.0, 0.0]), 0, 1.5, 0.0)
    assert (found[1] / found[2]).item() == pytest.approx(math.exp(1.5))
    assert (found[1] / found[3]).item() == pytest.approx(math.exp(3.0))


def test_large_beta_takes_the_nearest_and_the_forgotten_never() -> None:
    found = anchor_distribution(PROTOTYPES, PROTOTYPES[2], 2, 1e4, 0.0)
    cosines = torch.nn.functional.cosine_similarity(PROTOTYPES, PROTOTYPES[2:3])
    cosines[2] = -2
    assert found[cosines.argmax()] == 1


def test_lengths_do_not_matter() -> None:
    found = anchor_distribution(PROTOTYPES, DESCRIBED, 1, 2.0, 0.3)
    longer = PROTOTYPES * torch.tensor([1.0, 5, 0.1, 7, 2, 30])[:, None]
    torch.testing.assert_close(anchor_distribution(longer, 9 * DESCRIBED, 1, 2.0, 0.3), found, rtol=1e-6, atol=1e-8)


def test_the_mean_direction_weighs_embeddings_alike() -> None:
    found = mean_direction(torch.tensor([[100.0, 0.0], [0.0, 0.01]]))
    torch.testing.assert_close(found, torch.full((2,), 0.5**0.5))
    assert mean_direction(torch.zeros(0, 3)).tolist() == [0, 0, 0]
    assert mean_direction(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).tolist() == [0, 0]


def test_what_cannot_be_is_refused() -> None:
    for forgotten in (-1, 6):
        with pytest.raises(ValueError, match="cannot be forgotten"):
            anchor_distribution(PROTOTYPES, DESCRIBED, forgotten, 2.0, 0.3)
    with pytest.raises(ValueError, match="there must be another"):
        anchor_distribution(PROTOTYPES[:1], DESCRIBED, 0, 2.0, 0.3)
    for eta in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            anchor_distribution(PROTOTYPES, DESCRIBED, 0, 2.0, eta)
