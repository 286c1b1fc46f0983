"""DAS, the diffusion attribution score (Lin et al. 2024, arXiv 2410.18639)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.gradient_features import Damped, gradient_features, kernel, root_losses
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class DAS(Damped):
    """(φ(query) (ΦᵀΦ + damping I)⁻¹ φ_iᵀ · r_i / (1 - h_i))², h_i being the item's leverage.

    ``residual``: r_i is the ``mean`` over the draws of the root of the item's loss (paper), or, in the
    ``published_code``, the mean of those roots divided by their length over the draws.
    """

    name: str
    gradients: GradientConfig
    damping: Any  # a number, or grid: the scores of every damping of ``grid``
    grid: list[float]
    residual: Literal["mean", "published_code"]

    def __post_init__(self) -> None:
        self.check_dampings()

    def start(self, context: Context) -> Scorer:
        """The features of the items, their kernel, residuals and leverages."""
        items, queries = gradient_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        residual = residuals(root_losses(context, self.gradients), self.residual)

        def score(query: int) -> Scored:
            def scores(damping: float) -> Float[Tensor, " target"]:
                return (inverse.scores(queries[query], damping) * residual / (1 - inverse.leverage(damping))).square()

            return Scored(self.damp(scores))

        return score


def residuals(roots: Float[Tensor, "item draw"], kind: str) -> Float[Tensor, " item"]:
    """One residual per item from the roots of its losses."""
    return (torch.nn.functional.normalize(roots, dim=1) if kind == "published_code" else roots).mean(1)
