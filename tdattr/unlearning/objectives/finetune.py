"""Fine-tuning on the retained items alone: whatever is forgotten is forgotten by itself."""

from dataclasses import dataclass

from torch import nn

from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Objective, Step, UnlearnContext, retained_loss


@dataclass(frozen=True)
class Finetune(Objective):
    """The ``objective=finetune`` node."""

    name: str

    def begin(self, context: UnlearnContext) -> Step:
        """The loss of the retained batch."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            loss = retain(network, batch.retain)
            return Losses(loss, retain=loss)

        return step
