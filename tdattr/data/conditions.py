"""Conditions by what items are called: the value of a field that all items of one condition have, and no others."""

from collections.abc import Mapping

import numpy as np

from tdattr.data.names import FIELD, compose
from tdattr.data.prepared import Split
from tdattr.errors import UserError
from tdattr.tables import DataFrame
from tdattr.wording import name_some

MOST_SHOWN = 10  # values in a message


def name_conditions(split: Split) -> dict[str, int]:
    """The first item of every value of a field by which all items have the same condition, the fields with the fewest
    values first; none where the items have no conditions."""
    import pandas as pd

    if split.conditions is None or not len(split):
        return {}
    rows = np.asarray(split.conditions[:, 0]).reshape(len(split), -1)
    distinct = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)  # a number for every condition
    named: dict[str, int] = {}
    for name in sorted(list_fields(split.items), key=lambda name: split.items[name].nunique()):
        values = split.items[name].astype(str).map(compose)
        table = pd.DataFrame({"value": values.to_numpy(), "condition": distinct, "item": np.arange(len(split))})
        by_value = table.groupby("value", sort=False)
        single = by_value["condition"].nunique() == 1
        named = {str(value): int(item) for value, item in by_value["item"].first()[single].items()} | named
    return named


def list_fields(items: DataFrame) -> list[str]:
    """Those fields of items that say what they are: all but ids, names and prompts."""
    return [name for name in map(str, items) if name not in ("id", FIELD) and not name.startswith("prompt")]


def list_words(items: DataFrame) -> set[str]:
    """The values of these fields, without bare numbers, which may count pictures."""
    values = {value for name in list_fields(items) for value in items[name].astype(str).map(compose).unique()}
    return {value for value in values if not value.isdigit()}


def check_conditional(split: Split, setting: str) -> None:
    """Raise UserError, naming the ``setting`` by which a condition was given, where items have none."""
    if split.conditions is None:
        raise UserError(f"{setting} has no effect: the model is unconditional, so leave it out.")


def check_named(named: Mapping[str, int], setting: str) -> None:
    """Raise UserError, naming what a condition was given by, where `name_conditions` gives none of items that have
    conditions."""
    if not named:
        raise UserError(f"{setting} names a condition, but no field of the items tells their conditions apart.")


def find_condition(named: Mapping[str, int], value: str, setting: str) -> int:
    """The item whose condition ``value`` names, of those that `name_conditions` gives of items that have conditions.
    Raises UserError, naming the ``setting`` that it was given by, where there is none."""
    check_named(named, setting)
    if compose(value) in named:
        return named[compose(value)]
    values = name_some(sorted(named), MOST_SHOWN)
    raise UserError(f"{setting} has {value!r}, which names no condition: choose among {values}.")
