"""DAS, the diffusion attribution score (Lin et al. 2024, arXiv 2410.18639)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import (
    Damped,
    Damping,
    item_features,
    kernel,
    loss_table,
    plan_item_features,
    plan_kernel,
    plan_query_features,
    query_features,
    root_losses,
)
from tdattr.methods.self_influence import score_itself
from tdattr.ranges import Positive
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.kernel import Kernel
from tdattr.scoring.pairs import Counted


@dataclass(frozen=True)
class DAS(Damped):
    """(φ(query) (ΦᵀΦ + damping I)⁻¹ φ_iᵀ · r_i / (1 - h_i))², h_i being the item's leverage.

    ``residual``: r_i is the ``mean`` over the draws of the root of the item's loss (paper), or, in the
    ``published_code``, the mean of those roots divided by their length over the draws. ``leverage``: whether there is
    a 1 - h_i; the public code knows both. It also divides the inverse by the mean of its absolute values, which changes
    no order without 1 - h_i and makes it meaningless with it, so that it is not done here. With ``self`` every item is
    the query for itself.
    """

    needs: ClassVar = frozenset({"losses"})
    code_version: ClassVar[int] = 3  # 1 - leverage without a subtraction
    added: ClassVar[Mapping[str, Any]] = {"self": False}

    name: str
    gradients: GradientConfig
    damping: Damping
    grid: list[Positive]
    residual: Literal["mean", "published_code"]
    leverage: bool
    self: bool = False

    @property
    def scores_itself(self) -> bool:
        """See ``self``."""
        return self.self

    def work(self, context: Context) -> MethodWork:
        """The features of items and queries, the kernel and F1's losses."""
        config = self.gradients
        losses = loss_table(context, config, Counted(config.draws, 1)).plan_blocks()
        features = [*plan_item_features(context, config), plan_kernel(context, config, None)]
        queries = [] if self.self else plan_query_features(context, config)
        return MethodWork(NO_WORK, needs=[*features, *queries, *losses])

    def start(self, context: Context) -> Scorer:
        """The features of the items, their kernel, residuals and leverages."""
        items = item_features(context, self.gradients)
        queries = None if self.self else query_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        residual = residuals(root_losses(context, self.gradients), self.residual)
        if queries is None:
            damping = self.added_damping
            changes = residual / inverse.unleveraged(damping) if self.leverage else residual
            return lambda _: score_itself(
                context.ids, lambda some, others: (inverse.between(some, others, damping) * changes[others]).square()
            )
        return lambda query: Scored(
            self.damp(lambda damping: das_scores(inverse, queries[query], residual, damping, self.leverage))
        )


def das_scores(
    kernel: Kernel,
    query: Float[Tensor, " feature"],
    residual: Float[Tensor, " item"],
    damping: float,
    leverage: bool,
) -> Float[Tensor, " item"]:
    """The scores of all items for one query; ``damping`` is what is added to the kernel."""
    changes = kernel.scores(query, damping) * residual
    return (changes / kernel.unleveraged(damping) if leverage else changes).square()


def residuals(roots: Float[Tensor, "item draw"], kind: str) -> Float[Tensor, " item"]:
    """One residual per item from the roots of its losses."""
    return (torch.nn.functional.normalize(roots, dim=1) if kind == "published_code" else roots).mean(1)
