"""Metagradients of groups: what leaving one out does, by derivatives of trainings in which it counts less and less.

A training in which the items of a group count w has the queries' outputs L(w). Leaving the group out changes them by
L(0) - L(1), the integral of -dL/dw from 0 to 1. Its first point, w = 1, is the training of F1, whose derivatives are
those of ``method=metagradient``; for each further one F1 is trained again, with the derivative of its weights along w.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metagradients.quadrature import radau
from tdattr.methods import Context, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.group_tangents import GroupTangent, check_tangents
from tdattr.methods.way_back import WayBack
from tdattr.ranges import Range
from tdattr.store import Plan, share_out

FILE = "slopes.safetensors"
SLOPES = "slopes"
MOST_POINTS = 4  # ours: each further one costs more than to train without the group
BEYOND = "beyond_first_order"  # a fact: how much of a query's scores is not of first order


@dataclass(frozen=True)
class GroupMetagradient(WayBack):
    """The score of a group for a query is the change of the query's output where the group is left out, integrated by
    Radau's rule; with ``points=1`` to first order, the sum of its items' scores. ``removal``: with ``replaced`` the
    others count as much more as the group counts less, so that a batch always counts the same."""

    scores_groups: ClassVar = True

    points: Annotated[int, Range(least=1, most=MOST_POINTS)]

    def __post_init__(self) -> None:
        if not self.output.signed:
            raise UserError(
                f"A group's score says how much worse the query is without it, output@method.output={self.output.name} "
                "where its picture moves: leave output@method.output=elbo, or choose loss."
            )

    @property
    def needs(self) -> frozenset[str]:
        """What the output needs, and the groups."""
        return super().needs | {"groups"}

    def check(self, setup: MethodSetup) -> None:
        """What metagradient checks; and where others replace a group, there must be others. Raises UserError."""
        super().check(setup)
        for name, ids in setup.attributed.items():
            if self.removal == "replaced" and len(ids) == setup.items:
                raise UserError(
                    f"The group {name!r} has all items, so that none is left to replace them: set "
                    "train.removal=empty, or other groups with dataset.groups."
                )

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """What the way back takes, and the further trainings. Raises UserError."""
        super().check_room(outline, root)
        context = outline()
        missing = sum(not plan.finished for plan in self.further(context))
        check_tangents(context, missing, root, "lower method.points")

    def work(self, context: Context) -> MethodWork:
        """The way back through F1's training, and the further points of every group."""
        work = super().work(context)
        return replace(work, needs=[*work.needs, *self.further(context)])

    def start(self, context: Context) -> Scorer:
        """The integrals of all queries and groups."""
        of_items, facts = self.derive(context)
        groups = context.counterfactuals.groups().values()
        first = torch.stack([self.add_up(context, of_items.double(), ids) for ids in groups], dim=1)
        scores = self.score(first)
        if self.points == 1:
            return lambda query: Scored(scores[query], facts)
        artifacts = share_out(self.further(context), "Derivatives by what groups count")
        slopes = torch.stack([load_file(artifact.folder / FILE)[SLOPES].double() for artifact in artifacts])
        _, weights = radau(self.points)
        further = torch.from_numpy(weights[1:]) @ slopes.view(len(groups), self.points - 1, -1)
        whole = self.score(weights[0] * first + further.T)
        beyond = (whole - scores).norm(dim=1) / whole.norm(dim=1)
        return lambda query: Scored(whole[query], facts | {BEYOND: float(beyond[query])})

    def score(self, derivatives: Float[Tensor, "value group"]) -> Float[Tensor, "query group"]:
        """As the output has it; float32."""
        return self.output.score(derivatives.unflatten(0, (-1, self.output.size))).float()

    def add_up(self, context: Context, derivatives: Float[Tensor, "value item"], ids: Ids) -> Float[Tensor, " value"]:
        """The first order: the sum over a group, whose places others fill or nobody does."""
        total, count = derivatives[:, np.searchsorted(context.ids, ids)].sum(1), len(context.ids)
        return count / (count - len(ids)) * total if self.removal == "replaced" else total

    def further(self, context: Context) -> list[Plan]:
        """The derivatives of the queries' outputs at the further points of every group, group by group."""
        nodes, _ = radau(self.points)
        return [
            self.plan_slope(context, GroupTangent(context, ids, float(node), self.removal, name))
            for name, ids in context.counterfactuals.groups().items()
            for node in nodes[1:]
        ]

    def plan_slope(self, context: Context, tangent: GroupTangent) -> Plan:
        """The derivatives of the queries' outputs at the end of a training, as its group counts more."""
        output, queries = self.output, len(context.queries)

        def build(folder: Path) -> None:
            network, along = tangent.load()
            slopes = [output.differentiate(context, network, query) @ along for query in range(queries)]
            save_file({SLOPES: torch.cat(slopes).cpu()}, folder / FILE)

        def cost() -> Cost:
            evaluations, needs = output.count_evaluations(context), [*context.f1.plans, tangent.plan]
            if evaluations is None:
                return Cost(None, needs)
            values = queries * output.size
            return Cost(Work(gradients=values * evaluations, bytes=values * NUMBER_BYTES), needs)

        key = output.describe() | tangent.describe() | {"queries": context.queries.address}
        return context.plan("group_slopes", 1, key, build).costing(cost)
