"""Gradient ascent on the forgotten items beside descent on the retained ones (NegGrad+, Kurmanji et al. 2023)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from tdattr.costs import Work
from tdattr.ranges import Positive
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Step, UnlearnContext, Weighted, retained_loss, step_on_both


@dataclass(frozen=True)
class GradientAscent(Weighted):
    """The ``objective=gradient_ascent`` node: retain - weight · forget."""

    name: str
    weight: Positive

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step."""
        return step_on_both(retained, forgotten, retain)

    def begin(self, context: UnlearnContext) -> Step:
        """The difference of the two losses."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forgotten = context.diffusion.loss(network, *batch.forget.inputs).mean()
            return Losses(kept - self.weight * forgotten, retain=kept, forget=forgotten)

        return step
