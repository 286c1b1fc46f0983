"""The anchor of a forgotten item is a retained image of the same object, noised alike (GUDA-C's ablation)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from tdattr.data.prepared import Split
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.ranges import Positive
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import ObjectiveSetup, UnlearnContext
from tdattr.unlearning.objectives.anchored import Anchored, Choose, tell

Key = tuple[str, ...]  # an item's values of some fields


@dataclass(frozen=True)
class MatchedRetain(Anchored):
    """The ``objective=matched_retain`` node: the prediction for a retained item, the partner, under its own condition.

    ``fields``: partners have the same values as the forgotten item in as many of the first of these as any retained
    item has; those that the dataset lacks are left out, but for the first. ``partner``: ``lookup`` draws one of them in
    every step; ``published_code`` takes what the step's retained batch holds: one that has the same values in all
    fields, which is rare, or else any. ``noised``: the partner itself, or the ``forgotten`` item under the partner's
    condition (the published script that also scores).
    """

    name: str
    weight: Positive
    fields: list[str]
    partner: Literal["lookup", "published_code"]
    noised: Literal["partner", "forgotten"]

    def __post_init__(self) -> None:
        if not self.fields:
            raise UserError("method.objective.fields names none: give those by which items match, such as [object].")

    def check(self, setup: ObjectiveSetup) -> None:
        """The first field must be there, and every value of it in two groups."""
        first = self.fields[0]
        if first not in setup.split.items:
            known = [str(name) for name in setup.split.items if name != "id" and not str(name).startswith("prompt")]
            raise UserError(
                f"objective={self.name} matches items by the field {first}, which they lack: set "
                f"method.objective.fields to some of {', '.join(known) or 'a dataset that has fields'}."
            )
        owners: dict[str, set[str]] = defaultdict(set)
        for name, ids in setup.groups.items():
            for value in setup.split.items[first].iloc[ids].unique():
                owners[value].add(name)
        alone = next((value for value, names in owners.items() if len(names) == 1), None)
        if alone is not None:
            raise UserError(
                f"objective={self.name} finds no item with {first}={alone} outside of the group "
                f"{next(iter(owners[alone]))}: match items by another field with method.objective.fields."
            )
        if self.noised == "forgotten" and not setup.conditional:
            raise UserError(
                f"objective={self.name} with noised=forgotten tells F1 another condition, and it takes none: set "
                "method.objective.noised=partner."
            )

    def anchors(self, context: UnlearnContext) -> Choose:
        """The items that match, and what is drawn of them."""
        split = context.split
        columns = [split.items[name].tolist() for name in self.fields if name in split.items]
        keys: list[Key] = list(zip(*columns, strict=True))
        looked_up = self.partner == "lookup"
        partners = find_partners(keys, context.forgotten, context.retained) if looked_up else {}

        def choose(batch: UnlearnBatch, rng: np.random.Generator) -> Batch:
            assert batch.forget.ids is not None and batch.retain.ids is not None
            retained = batch.retain.ids.cpu().numpy()
            chosen = [
                rng.choice(partners[item] if looked_up else find_in_batch(keys, item, retained))
                for item in batch.forget.ids.tolist()
            ]
            return self.noise_alike(split, np.array(chosen), batch.forget, rng)

        return choose

    def noise_alike(self, split: Split, partners: Ids, forget: Batch, rng: np.random.Generator) -> Batch:
        """The partners at the noise and level of the forgotten items, or these under their conditions."""
        told = tell(forget, split.condition(partners))
        if self.noised == "forgotten":
            return told
        mirrored = np.zeros(len(partners), bool) if forget.mirrored is None else forget.mirrored.cpu().numpy()
        ids = torch.from_numpy(partners).to(forget.x.device)
        return replace(told, x=split.x(partners, mirrored, rng=rng).to(forget.x.device), ids=ids)


def find_partners(keys: Sequence[Key], forgotten: Ids, retained: Ids) -> dict[int, Ids]:
    """For each forgotten item the retained ones whose values agree in as many of the first fields as those of any do.

    Raises UserError where none agrees in the first.
    """
    depths = range(len(keys[0]), 0, -1)
    retained_by: dict[Key, list[int]] = defaultdict(list)
    for item in retained.tolist():
        for depth in depths:
            retained_by[keys[item][:depth]].append(item)
    partners = {}
    for item in forgotten.tolist():
        agreeing = next((key for depth in depths if (key := keys[item][:depth]) in retained_by), None)
        if agreeing is None:
            raise UserError(
                f"No retained item has {keys[item][0]!r} in common with the forgotten item {item}: match items by "
                "another field with method.objective.fields."
            )
        partners[item] = np.array(retained_by[agreeing])
    return partners


def find_in_batch(keys: Sequence[Key], item: int, retained: Ids) -> Ids:
    """The items of a retained batch that have the same values as the forgotten item, or else all of them."""
    same = [other for other in retained.tolist() if keys[other] == keys[item]]
    return np.array(same) if same else retained
