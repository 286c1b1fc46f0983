"""EraseDiff's noise target: forgotten items are to look like independent noise (Wu et al. 2024, arXiv 2401.05779)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.ranges import Positive
from tdattr.seeding import torch_seed
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import (
    Losses,
    Stateful,
    Step,
    UnlearnContext,
    Weighted,
    loss_towards,
    retained_loss,
    step_on_both,
)


@dataclass(frozen=True)
class EraseDiff(Weighted):
    """The ``objective=erasediff`` node: retain + weight · |prediction - independent noise|^2."""

    name: str
    weight: Positive

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step."""
        return step_on_both(retained, forgotten, retain)

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        return EraseDiffStep(context, self.weight)


class EraseDiffStep(Stateful):
    """The loss of a step; the independent noise is drawn step after step from one generator."""

    def __init__(self, context: UnlearnContext, weight: float) -> None:
        self.diffusion, self.weight, self.retain = context.diffusion, weight, retained_loss(context)
        self.rng = torch.Generator().manual_seed(torch_seed(context.seed, "erasediff"))

    def __call__(self, network: nn.Module, batch: UnlearnBatch) -> Losses:
        """The sum of the two losses."""
        kept = self.retain(network, batch.retain)
        noise = batch.forget.noise
        target = torch.randn(noise.shape, generator=self.rng).to(noise.device)
        forgotten = loss_towards(self.diffusion, network, batch.forget, target).mean()
        return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

    def state(self) -> Tensor:
        """That of the generator."""
        return self.rng.get_state()

    def restore(self, state: Tensor) -> None:
        """The generator goes on from there."""
        self.rng.set_state(state)
