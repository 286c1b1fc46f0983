"""Ensembles of attribution methods by weighted ranks (MUCS A.4), from the stored scores of their members."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node, name_class
from tdattr.costs import NO_WORK
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.methods import Context, Member, Method, MethodSetup, MethodWork, Scored, Scorer
from tdattr.networks import Network
from tdattr.ranges import PositiveOrZero
from tdattr.unlearning.capped import tell_capped


@dataclass(frozen=True)
class Ensemble(Method):
    """1 / the weighted sum of the members' ranks; a member of weight 0 is not computed."""

    name: str
    members: dict[str, Method]
    weights: dict[str, PositiveOrZero]

    def __post_init__(self) -> None:
        unknown = self.weights.keys() - self.members.keys()
        if unknown:
            raise UserError(f"method.weights names {min(unknown)!r}, which is none of method.members.")
        if not any(self.weights.values()):
            raise UserError("method.weights must hold one above 0.")
        for name, member in self.uses().items():
            if member.scores_groups:
                raise UserError(f"method.members.{name} scores groups, an ensemble ranks training items: leave it out.")
            if member.decides_top:
                raise UserError(
                    f"method.members.{name} decides only its highest scores, an ensemble ranks all items: set "
                    f"method.members.{name}.score.allocation to importance or all."
                )
        for name in self.active:
            if self.members[name].dampings:
                raise UserError(f"method.members.{name}.damping must be one value: grid is for protocol=lds.")

    @property
    def active(self) -> dict[str, float]:
        """The weights above 0."""
        return {name: weight for name, weight in self.weights.items() if weight > 0}

    def settle(self, top: int | None, items: int) -> "Ensemble":
        """With what its members leave open decided for every score of theirs."""
        return replace(self, members={name: member.settle(None, items) for name, member in self.members.items()})

    def uses(self) -> Mapping[str, Method]:
        """The members that are computed."""
        return {name: self.members[name] for name in self.active}

    def children(self) -> Iterator[tuple[str, Node]]:
        """The members that are computed."""
        return ((f"members.{name}", member) for name, member in self.uses().items())

    def describe(self) -> dict[str, Any]:
        """The members that are computed, and their weights."""
        members = {name: member.describe() for name, member in self.uses().items()}
        return {
            "class": name_class(self),
            "members": members,
            "weights": self.active,
            "version": 2,  # what members noted is kept with the ranks
        }

    def check_text(self, text: TextEncoder | None) -> None:
        """What its members check."""
        for member in self.uses().values():
            member.check_text(text)

    def check_network(self, network: Network) -> None:
        """What its members check."""
        for member in self.uses().values():
            member.check_network(network)

    def check(self, setup: MethodSetup) -> None:
        """What its members check."""
        for member in self.uses().values():
            member.check(setup)

    def work(self, context: Context) -> MethodWork:
        """Ranks are added up; the members are found by ``uses``."""
        return MethodWork(NO_WORK)

    def start(self, context: Context) -> Scorer:
        """The scores of the members."""
        return partial(self.score_query, {name: context.member(name) for name in self.active})

    def score_query(self, members: Mapping[str, Member], query: int) -> Scored:
        """The ranks of every member's scores of one query, weighted and inverted."""
        weighted = [weight * rank(members[name].scores.values[query]) for name, weight in self.active.items()]
        facts = {"member_seconds": sum(member.seconds for member in members.values())}
        for name in self.active:
            facts |= {f"{name}.{fact}": value for fact, value in members[name].facts[query].items()}
        return Scored(1 / torch.stack(weighted).sum(0), facts)

    def warn(self, facts: Mapping[str, float]) -> list[str]:
        """What there is to say of the members, each by its name and with its own settings."""
        warnings = []
        for name, member in self.uses().items():
            own = {fact.removeprefix(f"{name}."): value for fact, value in facts.items() if fact.startswith(f"{name}.")}
            capped = tell_capped(own)
            for warning in (*([] if capped is None else [capped]), *member.warn(own)):
                warnings.append(f"{name}: {warning.replace('method.', f'method.members.{name}.')}")
        return warnings


def rank(scores: Float[Tensor, " target"]) -> Float[Tensor, " target"]:
    """1 for the highest score; equal ones in the order of the ids; float64."""
    order = torch.argsort(scores, descending=True, stable=True)
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[order] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    return ranks
