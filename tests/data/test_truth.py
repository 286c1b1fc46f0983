"""True contributions: worked out by hand, and as the mixtures dataset must have them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdattr.data.mixtures import Mixtures
from tdattr.data.truth import compositions, ownership, truth
from tdattr.errors import UserError

SOURCE = Mixtures(
    resolution=16,
    groups=6,
    items=240,
    test_items=24,
    jitter=0,
    overlap=0.0,
    imbalance=1.0,
    parts=2,
    condition="composition",
    seed=1,
)
SMALL = ["a", "b"]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels do not matter here."""
    monkeypatch.setattr("tdattr.data.mixtures.stamps", lambda seed, count: np.zeros((count, 6, 6), bool))


def table(source: Mixtures, split: str) -> pd.DataFrame:
    """The items of a split as they are prepared."""
    return pd.DataFrame([dict(example.fields) for example in source.examples(split)])


def items(*rows: tuple[str, Any]) -> pd.DataFrame:
    """A table of (group, composition)."""
    return pd.DataFrame([{"group": group, "composition": json.dumps(shares)} for group, shares in rows])


def test_worked_out_by_hand() -> None:
    train = items(("a", {"a": 1.0}), ("a", {"a": 0.5, "b": 0.5}), ("b", {"a": 0.25, "b": 0.75}))
    queries = items(("a", {"a": 1.0}), ("b", {"a": 0.25, "b": 0.75}))
    owned = np.array([[1.5 / 1.75, 0.25 / 1.75], [0.5 / 1.25, 0.75 / 1.25]])
    np.testing.assert_allclose(ownership(compositions(train, SMALL, "items"), ["a", "a", "b"], SMALL), owned)
    np.testing.assert_allclose(truth(train, queries, SMALL), [owned[0], 0.25 * owned[0] + 0.75 * owned[1]])
    np.testing.assert_allclose(truth(train, queries, SMALL[::-1]), truth(train, queries, SMALL)[:, ::-1])


@pytest.mark.parametrize("imbalance", [1.0, 6.0])
def test_without_overlap_every_group_owns_its_stamp(imbalance: float) -> None:
    source = replace(SOURCE, imbalance=imbalance)
    train, queries = table(source, "train"), table(source, "test")
    shares = compositions(train, source.names, "items")
    np.testing.assert_array_equal(ownership(shares, train.group.tolist(), source.names), np.eye(6))
    np.testing.assert_array_equal(truth(train, queries, source.names), compositions(queries, source.names, "queries"))


@pytest.mark.parametrize("overlap", [0.3, 1.0])
def test_with_overlap_the_owner_still_counts_most(overlap: float) -> None:
    source = replace(SOURCE, overlap=overlap)
    train, queries = table(source, "train"), table(source, "test")
    owned = ownership(compositions(train, source.names, "items"), train.group.tolist(), source.names)
    np.testing.assert_allclose(owned.sum(axis=1), 1)
    assert (owned.argmax(axis=1) == np.arange(6)).all() and (np.diag(owned) > 0.5).all() and (owned < 1).all()
    found = truth(train, queries, source.names)
    assert found.shape == (24, 6) and (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert [source.names[column] for column in found.argmax(axis=1)] == queries.group.tolist()


def test_rows_sum_to_one_whatever_the_queries_shares_sum_to() -> None:
    train = items(("a", {"a": 1}), ("b", {"b": 1}))
    np.testing.assert_allclose(truth(train, items(("a", {"a": 3, "b": 1})), SMALL), [[0.75, 0.25]])


def test_what_is_missing_or_unknown_is_named() -> None:
    train = items(("a", {"a": 1.0}), ("b", {"b": 1.0}))
    with pytest.raises(UserError, match="training items have no field composition"):
        truth(train[["group"]], train, SMALL)
    with pytest.raises(UserError, match="queries have no field composition"):
        truth(train, train[["group"]], SMALL)
    with pytest.raises(UserError, match="no field group"):
        truth(train[["composition"]], train, SMALL)
    with pytest.raises(UserError, match="No composition of the training items names 'c'"):
        truth(train, train, [*SMALL, "c"])
    with pytest.raises(UserError, match="training items names 'b', which is none of the groups"):
        truth(train, train, ["a"])
    with pytest.raises(UserError, match="queries names 'c', which is none of the groups"):
        truth(train, items(("a", {"c": 1.0})), SMALL)
    with pytest.raises(UserError, match="training items of 'z' belong to none"):
        truth(items(("a", {"a": 1.0}), ("z", {"b": 1.0})), train, SMALL)


@pytest.mark.parametrize("text", ["", "a", "[1]", "{}", '{"a": "much"}', '{"a": 0}', '{"a": -1, "b": 2}', '{"a": NaN}'])
def test_what_is_no_composition_is_quoted(text: str) -> None:
    train = items(("a", {"a": 1.0}), ("b", {"b": 1.0}))
    with pytest.raises(UserError, match="field composition of the queries must hold JSON"):
        truth(train, pd.DataFrame({"composition": [text]}), SMALL)
