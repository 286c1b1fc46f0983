"""What queries truly owe to groups, for datasets whose items say of which groups' features they are composed."""

import json
import math

import numpy as np
from jaxtyping import Float

from tdattr.errors import UserError
from tdattr.tables import DataFrame

FIELD = "composition"  # of an item: a JSON object from the names of groups to their shares
OWNER = "group"  # of an item: the group that it belongs to


def truth(train_items: DataFrame, query_items: DataFrame, groups: list[str]) -> Float[np.ndarray, "query group"]:
    """How much of every query is due to the items of each group; every row sums to 1.

    A query is composed of the groups' features. Each feature is due to all training items that show it, in proportion
    to its share of them; what is due to an item counts for the group that owns it. So the result is ``w @ ownership``.

    Raises UserError where items do not say of what they are composed or whose they are, and where a composition names
    none of ``groups`` or none of the training items' names one of them.
    """
    shares = compositions(train_items, groups, "training items")
    query_shares = compositions(query_items, groups, "queries")
    if OWNER not in train_items:
        raise UserError(f"The training items have no field {OWNER} that says whose they are: choose dataset=mixtures.")
    totals = shares.sum(axis=0)
    unnamed = [name for name, amount in zip(groups, totals, strict=True) if not amount]
    if unnamed:
        raise UserError(
            f"No composition of the training items names {unnamed[0]!r}: the true contributions are known for "
            f"dataset.groups={OWNER} without remove.groups only."
        )
    weights = query_shares / query_shares.sum(axis=1, keepdims=True)
    return weights @ ownership(shares, train_items[OWNER].tolist(), groups)


def ownership(
    shares: Float[np.ndarray, "item group"], owners: list[str], groups: list[str]
) -> Float[np.ndarray, "group group"]:
    """Row by feature, column by owner: the part of the feature's occurrences that lies in the owner's items.

    Raises UserError for an owner that is none of ``groups``.
    """
    stranger = next((owner for owner in owners if owner not in groups), None)
    if stranger is not None:
        raise UserError(f"The training items of {stranger!r} belong to none of the groups: set dataset.groups={OWNER}.")
    owned = np.array(owners)[:, None] == np.array(groups)
    return shares.T @ owned / shares.sum(axis=0)[:, None]


def compositions(items: DataFrame, groups: list[str], called: str) -> Float[np.ndarray, "item group"]:
    """The shares that the items' compositions give to each group.

    Raises UserError where there are none, where one is no JSON object from groups to shares, and for unknown groups.
    """
    if FIELD not in items:
        raise UserError(
            f"The {called} have no field {FIELD}, so their true contributions are unknown: choose dataset=mixtures."
        )
    columns = {name: column for column, name in enumerate(groups)}
    shares = np.zeros((len(items), len(groups)))
    for row, text in enumerate(items[FIELD]):
        for name, share in parse(text, called).items():
            if name not in columns:
                raise UserError(
                    f"A composition of the {called} names {name!r}, which is none of the groups: set "
                    f"dataset.groups={OWNER}, without remove.groups."
                )
            shares[row, columns[name]] = share
    return shares


def parse(text: str, called: str) -> dict[str, float]:
    """One composition. Raises UserError where it is no JSON object from names to shares that are positive in sum."""
    try:
        content = json.loads(text)
        shares = {str(name): float(share) for name, share in content.items()}
    except (ValueError, TypeError, AttributeError):
        shares = {}
    if not shares or min(shares.values()) < 0 or not 0 < sum(shares.values()) < math.inf:
        raise UserError(
            f"The field {FIELD} of the {called} must hold JSON objects from groups to shares, which {text!r} is not: "
            "choose dataset=mixtures."
        )
    return shares
