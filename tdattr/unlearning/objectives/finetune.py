"""Fine-tuning on the retained items alone: what forgetting comes by itself."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from tdattr.unlearning.objectives import Batch, Parts, Situation, retained_loss


@dataclass(frozen=True)
class Finetune:
    """The ``objective=finetune`` node."""

    name: str

    def check(self, conditional: bool) -> None:
        """Serves every model."""

    def begin(self, situation: Situation) -> Callable[[nn.Module, Batch], Parts]:
        """The loss of the retained batch."""
        retain = retained_loss(situation)

        def step(network: nn.Module, batch: Batch) -> Parts:
            loss = retain(network, batch["retain"])
            return loss, {"retain": loss.detach()}

        return step
