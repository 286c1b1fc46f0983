"""Gradient ascent on the forgotten items beside descent on the retained ones (NegGrad+, Kurmanji et al. 2023)."""

from dataclasses import dataclass

from torch import nn

from tdattr.ranges import Positive
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Step, UnlearnContext, Weighted, retained_loss


@dataclass(frozen=True)
class GradientAscent(Weighted):
    """The ``objective=gradient_ascent`` node: retain - weight · forget."""

    name: str
    weight: Positive

    def begin(self, context: UnlearnContext) -> Step:
        """The difference of the two losses."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forgotten = context.diffusion.loss(network, *batch.forget.inputs).mean()
            return Losses(kept - self.weight * forgotten, retain=kept, forget=forgotten)

        return step
