"""DAS, the diffusion attribution score (Lin et al. 2024, arXiv 2410.18639)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.gradient_features import GRID, check_dampings, damped, gradient_features, kernel, root_losses
from tdattr.networks import part_names
from tdattr.scoring.gradients import GradientConfig

RESIDUALS = ("mean", "published_code")


@dataclass(frozen=True)
class DAS:
    """(φ(query) (ΦᵀΦ + damping I)⁻¹ φ_iᵀ · r_i / (1 - h_i))², h_i being the item's leverage.

    ``residual``: r_i is the ``mean`` over the draws of the root of the item's loss (paper), or, in the
    ``published_code``, the mean of those roots divided by their length over the draws.
    """

    name: str
    gradients: GradientConfig
    damping: Any  # a number, or grid
    grid: list[float]
    residual: str

    def __post_init__(self) -> None:
        check_dampings(self.damping, self.grid)
        if self.residual not in RESIDUALS:
            raise UserError(f"method.residual={self.residual} is unknown: choose one of {', '.join(RESIDUALS)}.")

    @property
    def dampings(self) -> list[float] | None:
        """The values that are scored with, where that is more than one."""
        return self.grid if self.damping == GRID else None

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """The network must know the part that is differentiated."""
        part_names(network, self.gradients.parameters)

    def start(self, context: Context) -> Scorer:
        """The features of the items, their kernel, residuals and leverages."""
        items, queries = gradient_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        residual = residuals(root_losses(context, self.gradients), self.residual)

        def score(query: int) -> Scored:
            def scores(damping: float) -> Float[Tensor, " target"]:
                return (inverse.scores(queries[query], damping) * residual / (1 - inverse.leverage(damping))).square()

            return Scored(damped(scores, self.damping, self.grid))

        return score


def residuals(roots: Float[Tensor, "item draw"], kind: str) -> Float[Tensor, " item"]:
    """One residual per item from the roots of its losses."""
    return (torch.nn.functional.normalize(roots, dim=1) if kind == "published_code" else roots).mean(1)
