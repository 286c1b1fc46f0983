"""Random numbers depend on what they are for and on nothing else."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tdattr.seeding import generator, normal, torch_seed

KEYS = [
    (0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "a", 1, 2), (0, "a", 2, 1), (0, "a", 2, 2),
]  # fmt: skip


def test_equal_keys_give_equal_streams_in_any_order() -> None:
    expected = {key: generator(*key).random(4) for key in KEYS}
    torch.manual_seed(1)
    np.random.seed(1)
    for key in reversed(KEYS):
        np.random.random()
        assert np.array_equal(generator(*key).random(4), expected[key])


def test_different_keys_give_independent_streams() -> None:
    streams = np.stack([generator(*key).standard_normal(2000) for key in KEYS])
    correlation = np.corrcoef(streams)[np.triu_indices(len(KEYS), 1)]
    assert np.abs(correlation).max() < 4.5 / 2000**0.5


def test_streams_are_the_same_on_every_machine() -> None:
    assert generator(3, "query", 5).integers(1000, size=4).tolist() == [330, 188, 629, 659]
    assert torch_seed(3, "initialisation") == 2599547417213317021


def test_torch_seeds_are_valid_and_different() -> None:
    seeds = [torch_seed(*key) for key in KEYS]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [torch_seed(*key) for key in KEYS]
    draws = [torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    assert not any(torch.equal(a, b) for a, b in combinations(draws, 2))


@pytest.mark.parametrize("key", [(-1, "a"), (0, "a", -1)])
def test_negative_keys_are_refused(key: tuple[int, str]) -> None:
    with pytest.raises(ValueError, match="negative"):
        generator(*key)


def test_normal_numbers() -> None:
    drawn = normal(generator(0, "a"), 100, 3, 20, 20)
    assert drawn.shape == (100, 3, 20, 20)
    assert drawn.dtype == torch.float32
    assert drawn.device.type == "cpu"
    count = drawn.numel()
    assert abs(drawn.mean()) < 4 / count**0.5
    assert abs(drawn.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((drawn.abs() < 1).float().mean() - 0.6827) < 4 * (0.6827 * 0.3173 / count) ** 0.5
