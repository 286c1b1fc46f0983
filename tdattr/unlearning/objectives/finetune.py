"""Fine-tuning on the retained items alone: whatever is forgotten is forgotten by itself."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from tdattr.costs import Work
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Objective, Step, UnlearnContext, retained_loss, step_on_both


@dataclass(frozen=True)
class Finetune(Objective):
    """The ``objective=finetune`` node."""

    retains: ClassVar = ("loss",)  # a distance from F1 is zero at F1, where nothing would be learned

    name: str

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The retained batch alone."""
        return step_on_both(retained, 0, retain)

    def begin(self, context: UnlearnContext) -> Step:
        """The loss of the retained batch."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            loss = retain(network, batch.retain)
            return Losses(loss, retain=loss)

        return step
