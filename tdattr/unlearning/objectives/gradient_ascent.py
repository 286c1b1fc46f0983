"""Gradient ascent on the forgotten items beside descent on the retained ones (NegGrad+, Kurmanji et al. 2023)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from tdattr.unlearning.objectives import Batch, Parts, Situation, check_above_zero, plain, retained_loss


@dataclass(frozen=True)
class GradientAscent:
    """The ``objective=gradient_ascent`` node: retain - weight · forget."""

    name: str
    weight: float

    def __post_init__(self) -> None:
        check_above_zero(self.name, weight=self.weight)

    def check(self, conditional: bool) -> None:
        """Serves every model."""

    def begin(self, situation: Situation) -> Callable[[nn.Module, Batch], Parts]:
        """The difference of the two losses."""
        retain = retained_loss(situation)

        def step(network: nn.Module, batch: Batch) -> Parts:
            kept = retain(network, batch["retain"])
            forgotten = situation.diffusion.loss(network, **plain(batch["forget"])).mean()  # type: ignore[arg-type]
            return kept - self.weight * forgotten, {"retain": kept.detach(), "forget": forgotten.detach()}

        return step
