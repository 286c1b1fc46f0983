"""Scores of groups from those of items: worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from tdattr.configs import typed
from tdattr.errors import UserError
from tdattr.metrics.aggregation import AggregateConfig, aggregate
from tests.conftest import CONF

IDS = np.array([2, 5, 6, 11, 40, 41, 90])  # ids are not places
GROUPS = {"b": np.array([5, 11, 40, 90]), "a": np.array([2, 41]), "single": np.array([6])}
SCORES = torch.tensor([[1.0, -4.0, 7.0, 2.0, 6.0, 3.0, -1.0], [0.0, 8.0, -5.0, -2.0, -6.0, -9.0, 1.0]])
EXPECTED = {  # b, a, single of both queries
    "sum": [[3, 4, 7], [1, -9, -5]],
    "mean": [[0.75, 2, 7], [0.25, -4.5, -5]],
    "max": [[6, 3, 7], [8, 0, -5]],
    "median": [[0.5, 2, 7], [-0.5, -4.5, -5]],
    "top_mean": [[4, 2, 7], [4.5, -4.5, -5]],
}
POSITIVE = {
    "sum": [[8, 4, 7], [9, 0, 0]],
    "mean": [[4, 2, 7], [4.5, 0, 0]],  # of 2 and 6, of 8 and 1: not of four items
    "max": [[6, 3, 7], [8, 0, 0]],
    "median": [[4, 2, 7], [4.5, 0, 0]],
    "top_mean": [[4, 2, 7], [4.5, 0, 0]],
}


def config(**changes: Any) -> AggregateConfig:
    path = CONF / "aggregate" / "mean.yaml"
    node = OmegaConf.merge(OmegaConf.load(path), changes)
    return typed(AggregateConfig, OmegaConf.to_container(node), "protocol.aggregate")


@pytest.mark.parametrize("kind", EXPECTED)
def test_by_hand(kind: str) -> None:
    for positive, expected in ((False, EXPECTED), (True, POSITIVE)):
        given = SCORES.clone()
        found = aggregate(given, IDS, GROUPS, config(kind=kind, top=2, positive_only=positive))
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found, expected[kind], atol=1e-12)
        assert torch.equal(given, SCORES)


@pytest.mark.parametrize("kind", EXPECTED)
def test_zeros_and_negative_scores_are_left_out_and_not_counted(kind: str) -> None:
    """Adding them to a group changes nothing; and where there is nothing else, the group gets 0."""
    scores = torch.tensor([[0.0, 3.0, 5.0, -1.0, 4.0, -2.0], [-1.0, 1.0, -2.0, -3.0, 0.0, -4.0]])
    groups = {"plain": np.array([1, 2, 4]), "padded": np.arange(6), "none": np.array([0, 3, 5])}
    found = aggregate(scores, np.arange(6), groups, config(kind=kind, top=2, positive_only=True))
    assert torch.equal(found[:, 0], found[:, 1])
    assert found[0, 0] == {"sum": 12, "mean": 4, "max": 5, "median": 4, "top_mean": 4.5}[kind]
    assert found[1, 0] == 1
    assert not found[:, 2].any()


def test_top_mean_of_larger_and_smaller_groups() -> None:
    for top, name in ((1, "max"), (2, "top_mean"), (100, "mean")):
        found = aggregate(SCORES, IDS, GROUPS, config(kind="top_mean", top=top))
        np.testing.assert_allclose(found, EXPECTED[name], atol=1e-12)


def test_sums_are_taken_in_double_precision() -> None:
    scores = torch.tensor([[1e8, 1.0, 1.0, 1.0]])
    found = aggregate(scores, np.arange(4), {"all": np.arange(4)}, config(kind="sum"))
    assert found.item() == 1e8 + 3


def test_bad_values() -> None:
    with pytest.raises(UserError, match=r"protocol.aggregate.kind=mode is unknown: choose sum, mean, max, median or t"):
        config(kind="mode")
    with pytest.raises(UserError, match=r"protocol.aggregate.top=0"):
        config(top=0)


def test_groups_with_items_that_have_no_scores_are_named() -> None:
    for members in ([5, 7], [5, 91]):
        with pytest.raises(ValueError, match=f"group 'c' has items without scores, id {members[1]} for one"):
            aggregate(SCORES, IDS, {"b": GROUPS["b"], "c": np.array(members)}, config())
