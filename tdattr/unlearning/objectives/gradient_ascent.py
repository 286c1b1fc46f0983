"""Gradient ascent on the forgotten items beside descent on the retained ones (NegGrad+, Kurmanji et al. 2023)."""

from dataclasses import dataclass

from torch import nn

from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Step, UnlearnContext, Weighted, check_above_zero, retained_loss


@dataclass(frozen=True)
class GradientAscent(Weighted):
    """The ``objective=gradient_ascent`` node: retain - weight · forget."""

    name: str
    weight: float

    def __post_init__(self) -> None:
        check_above_zero(self.name, weight=self.weight)

    def begin(self, context: UnlearnContext) -> Step:
        """The difference of the two losses."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forgotten = context.diffusion.loss(network, *batch.forget.inputs).mean()
            return Losses(kept - self.weight * forgotten, retain=kept, forget=forgotten)

        return step
