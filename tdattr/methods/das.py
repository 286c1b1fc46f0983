"""DAS, the diffusion attribution score (Lin et al. 2024, arXiv 2410.18639)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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
    no order without 1 - h_i and makes it meaningless with it, so that it is not done here.
    """

    needs: ClassVar = frozenset({"losses"})
    code_version: ClassVar[int] = 3  # 1 - leverage without a subtraction

    name: str
    gradients: GradientConfig
    damping: Damping
    grid: list[Positive]
    residual: Literal["mean", "published_code"]
    leverage: bool

    def work(self, context: Context) -> MethodWork:
        """The features of items and queries, the kernel and F1's losses."""
        config = self.gradients
        losses = loss_table(context, config, Counted(config.draws, 1)).plan_blocks()
        kernels = [plan_kernel(context, config, None), *plan_query_features(context, config)]
        return MethodWork(NO_WORK, needs=[*plan_item_features(context, config), *kernels, *losses])

    def start(self, context: Context) -> Scorer:
        """The features of the items, their kernel, residuals and leverages."""
        items, queries = item_features(context, self.gradients), query_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        residual = residuals(root_losses(context, self.gradients), self.residual)

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
