"""Conditions by name: a value counts where all items that have it have one condition."""

import numpy as np
import pandas as pd
import pytest

from tdattr.data.conditions import check_conditional, find_condition, name_conditions
from tdattr.data.prepared import Split
from tdattr.errors import UserError


def split(conditions: list[list[float]] | None, **fields: list[object]) -> Split:
    count = len(next(iter(fields.values())))
    rows = None if conditions is None else np.array(conditions, np.float32)[:, None]
    return Split(np.zeros((count, 2, 2, 1), np.uint8), rows, pd.DataFrame({"id": range(count)} | fields))


CATS = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]


def test_a_value_names_the_condition_that_its_items_share() -> None:
    items = split(CATS, kind=["cat", "dog", "cat", "dog"], size=["big", "big", "small", "big"], name=list("abcd"))
    assert name_conditions(items) == {"cat": 0, "dog": 1, "small": 2}  # big ones are of both kinds; names are no fields
    assert find_condition(name_conditions(items), "dog", "queries.condition") == 1


def test_numbers_and_accents_are_compared_as_people_write_them() -> None:
    items = split(CATS, label=[7, 8, 7, 8], kind=["caf\u00e9", "x", "caf\u00e9", "x"])
    assert find_condition(name_conditions(items), "8", "queries.condition") == 1
    assert find_condition(name_conditions(items), "cafe\u0301", "queries.condition") == 0


def test_a_name_of_nothing_is_refused_with_what_there_is() -> None:
    items = split(CATS, kind=["cat", "dog", "cat", "dog"])
    with pytest.raises(
        UserError, match="queries.condition has 'cow', which names no condition: choose among cat, dog."
    ):
        find_condition(name_conditions(items), "cow", "queries.condition")


def test_conditions_that_no_field_names_are_not_said_to_be_none() -> None:
    mixed = split(CATS, kind=["pet"] * 4)
    check_conditional(mixed, "queries.condition")
    with pytest.raises(UserError, match="queries.condition names a condition, but no field of the items tells"):
        find_condition(name_conditions(mixed), "cat", "queries.condition")
    with pytest.raises(UserError, match="queries.condition has no effect: the model is unconditional"):
        check_conditional(split(None, kind=["cat"]), "queries.condition")
