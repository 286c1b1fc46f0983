"""Shapley values of groups, from models that unlearned random sets of groups.

The value of a set of groups is minus the ELBO score of the query under the model that kept only them, so that a group's
Shapley value (Shapley 1953) is its mean contribution over the orders in which groups can come together. Orders are
drawn (Castro et al. 2009); the model of no group is the freshly initialised network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Work
from tdattr.counterfactuals import Trained
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.methods import Context, Method, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.group_elbo import elbos, plan_elbos
from tdattr.methods.guda import (
    Unlearned,
    check_head_starts,
    check_objective,
    check_retain,
    compare_unlearning,
    unlearn_all,
)
from tdattr.ranges import Count, Range
from tdattr.scoring.elbo import ElboConfig
from tdattr.seeding import generator
from tdattr.training.config import TrainConfig
from tdattr.unlearning.group import GroupUnlearnConfig
from tdattr.unlearning.objectives import Objective


@dataclass(frozen=True)
class Shapley(Method):
    """``orders`` random orders of the groups, each needing a model for all but its first and last set;
    ``scored`` and ``weight_by_size`` as in GUDA."""

    needs: ClassVar = frozenset({"groups"})
    scores_groups: ClassVar = True
    remedy: ClassVar = "lower method.unlearn.learning_rate"

    name: str
    orders: Annotated[int, Range(least=2)]  # for a standard error
    objective: Objective
    unlearn: GroupUnlearnConfig
    scored: Count | None
    weight_by_size: bool
    elbo: ElboConfig

    def __post_init__(self) -> None:
        self.unlearn.choose(self.scored)
        check_retain(self.objective, self.unlearn)

    def unread(self) -> dict[str, str]:
        """Whether a weight grows with the group, where the objective has none."""
        return {} if self.objective.weighted else {"weight_by_size": f"objective={self.objective.name}"}

    def compared(self, train: TrainConfig) -> Mapping[str, float]:
        """Those of the unlearning."""
        return compare_unlearning(self.objective, self.unlearn)

    def check_text(self, text: TextEncoder | None) -> None:
        """What the objective checks."""
        self.objective.check_text(text)

    def check(self, setup: MethodSetup) -> None:
        """The objective must serve such a model, and its terms must be levels of the variant."""
        if len(setup.attributed) < len(setup.groups):
            raise UserError("method=shapley shares out the whole score among all groups: set attributed_groups=null.")
        check_objective(self.objective, self.unlearn, setup)
        self.elbo.terms(setup.diffusion)

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """As GUDA does. Raises UserError."""
        if self.unlearn.head_start:
            check_head_starts(context := outline(), self.unlearned(context)[2], root)

    def unlearned(self, context: Context) -> tuple[list[list[int]], list[list[int]], list[Unlearned]]:
        """Random orders of the groups; the sets of groups that are kept along them, in all but their first and last
        step; and F1 without the others of each set."""
        groups = context.counterfactuals.groups()
        names = list(groups)
        orders = [generator(context.seed, "shapley", n).permutation(len(names)).tolist() for n in range(self.orders)]
        kept = {frozenset(order[:size]) for order in orders for size in range(1, len(names))}
        sets = sorted(map(sorted, kept))
        removals = [
            np.sort(np.concatenate([groups[names[g]] for g in range(len(names)) if g not in members]))
            for members in sets
        ]
        models = unlearn_all(context, self.objective, self.unlearn, removals, self.scored, self.weight_by_size)
        return orders, sets, models

    def scored_models(self, context: Context, models: Sequence[Unlearned]) -> list[Trained]:
        """F1, the freshly initialised network, and the unlearned ones."""
        fresh = Trained(f"fresh/{context.seed}", context.f0)
        return [context.f1, fresh, *(model.trained for model in models)]

    def work(self, context: Context) -> MethodWork:
        """The unlearnings, and the bounds under each model."""
        models = self.unlearned(context)[2]
        errors = Work(bytes=len(context.counterfactuals.groups()) * NUMBER_BYTES)
        return MethodWork(errors, needs=plan_elbos(context, self.elbo, self.scored_models(context, models)))

    def scores(self, context: Context) -> tuple[Float[Tensor, "query group"], Float[Tensor, "query group"], int]:
        """Unlearn what every order leaves out at each of its steps, and score all queries under each model: the values,
        their standard errors and the number of steps."""
        orders, sets, models = self.unlearned(context)
        terms = elbos(context, self.elbo, self.scored_models(context, models)).sum(2)
        values = {frozenset(orders[0]): -terms[0], frozenset(): -terms[1]}
        values |= {frozenset(members): -elbo for members, elbo in zip(sets, terms[2:], strict=True)}
        return *shapley_values(values, orders), sum(model.all_steps for model in models)

    def start(self, context: Context) -> Scorer:
        """The values of all queries."""
        scores, errors, steps = self.scores(context)
        facts = {"training_steps": float(steps)}
        return lambda query: Scored(
            scores[query], facts | {"standard_error": float(errors[query].mean())}, errors[query]
        )


def shapley_values(
    values: dict[frozenset[int], Float[Tensor, " query"]], orders: list[list[int]]
) -> tuple[Float[Tensor, "query group"], Float[Tensor, "query group"]]:
    """The mean of each group's contributions over the orders, and its standard error."""
    gains = []
    for order in orders:
        row: list[Any] = [None] * len(order)
        for position, group in enumerate(order):
            row[group] = values[frozenset(order[: position + 1])] - values[frozenset(order[:position])]
        gains.append(torch.stack(row, dim=1))
    all_gains = torch.stack(gains)
    return all_gains.mean(0), all_gains.std(0) / len(orders) ** 0.5
