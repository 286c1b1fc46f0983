"""TRAK (Park et al. 2023, arXiv 2303.14186) and D-TRAK (Zheng et al. 2024, arXiv 2311.00500) for diffusion models."""

from dataclasses import dataclass

from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.gradient_features import gradient_features, kernel
from tdattr.networks import part_names
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class Trak:
    """φ(query) (ΦᵀΦ + damping I)⁻¹ Φᵀ; the methods differ in the output function of ``gradients``."""

    name: str
    gradients: GradientConfig
    damping: float

    def __post_init__(self) -> None:
        if self.damping <= 0:
            raise UserError(f"method.damping={self.damping} must be above 0.")

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """The network must know the part that is differentiated."""
        part_names(network, self.gradients.parameters)

    def start(self, context: Context) -> Scorer:
        """The features of the items and their kernel."""
        items, of_query = gradient_features(context, self.gradients)
        inverse = kernel(context, self.gradients, items)
        return lambda query: Scored(inverse.scores(of_query(query), self.damping))
