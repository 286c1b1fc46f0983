"""Ensembles of attribution methods by weighted ranks (MUCS A.4), from scores that are stored anyway."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer


@dataclass(frozen=True)
class Ensemble:
    """1 / the weighted sum of the members' ranks; a member of weight 0 is not computed."""

    name: str
    members: dict[str, Any]  # methods
    weights: dict[str, float]

    def __post_init__(self) -> None:
        unknown = self.weights.keys() - self.members.keys()
        if unknown:
            raise UserError(f"method.weights names {min(unknown)!r}, which is none of method.members.")
        if not any(self.weights.values()) or min(self.weights.values()) < 0:
            raise UserError("method.weights must be 0 or above, and one of them above 0.")
        for name, member in self.used.items():
            if getattr(member, "scores_groups", False):
                raise UserError(f"method.members.{name} scores groups, an ensemble ranks training items: leave it out.")
        for name in self.active:
            if getattr(self.members[name], "dampings", None):
                raise UserError(f"method.members.{name}.damping must be one value: grid is for protocol=lds.")

    @property
    def active(self) -> dict[str, float]:
        """The weights above 0."""
        return {name: weight for name, weight in self.weights.items() if weight > 0}

    @property
    def used(self) -> Mapping[str, Any]:
        """The members that are computed."""
        return {name: self.members[name] for name in self.active}

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """What its members check."""
        for member in self.used.values():
            member.check(network, data, items)

    def start(self, context: Context) -> Scorer:
        """The scores of the members."""
        found = {name: context.member(name) for name in self.active}
        return partial(self.score_query, found)

    def score_query(self, found: Mapping[str, Any], query: int) -> Scored:
        """The ranks of every member's scores of one query, weighted and inverted."""
        total = sum(weight * ranks(found[name].scores.values[query]) for name, weight in self.active.items())
        assert isinstance(total, Tensor)
        return Scored(1 / total, {"member_seconds": sum(member.seconds for member in found.values())})


def ranks(scores: Float[Tensor, " target"]) -> Float[Tensor, " target"]:
    """1 for the highest score; equal ones in the order of the ids; float64."""
    order = torch.argsort(scores, descending=True, stable=True)
    places = torch.empty(len(scores), dtype=torch.float64)
    places[order] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    return places
