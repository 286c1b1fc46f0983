"""TRAK (Park et al. 2023, arXiv 2303.14186) and D-TRAK (Zheng et al. 2024, arXiv 2311.00500) for diffusion models."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.gradient_features import GRID, check_dampings, damped, gradient_features, kernel
from tdattr.networks import part_names
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class Trak:
    """φ(query) (ΦᵀΦ + damping I)⁻¹ Φᵀ; the methods differ in the output function of ``gradients``."""

    name: str
    gradients: GradientConfig
    damping: Any  # a number, or grid
    grid: list[float]

    def __post_init__(self) -> None:
        check_dampings(self.damping, self.grid)

    @property
    def dampings(self) -> list[float] | None:
        """The values that are scored with, where that is more than one."""
        return self.grid if self.damping == GRID else None

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """The network must know the part that is differentiated."""
        part_names(network, self.gradients.parameters)

    def start(self, context: Context) -> Scorer:
        """The features of the items and their kernel."""
        items, queries = gradient_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        return lambda query: Scored(damped(partial(inverse.scores, queries[query]), self.damping, self.grid))
