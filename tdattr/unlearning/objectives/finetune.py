"""Fine-tuning on the retained items alone: what forgetting comes by itself."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Parts, UnlearnContext, retained_loss


@dataclass(frozen=True)
class Finetune:
    """The ``objective=finetune`` node."""

    name: str

    def check(self, conditional: bool) -> None:
        """Serves every model."""

    def begin(self, context: UnlearnContext) -> Callable[[nn.Module, UnlearnBatch], Parts]:
        """The loss of the retained batch."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Parts:
            loss = retain(network, batch.retain)
            return loss, {"retain": loss.detach()}

        return step
