"""EraseDiff's noise target: forgotten items are to look like independent noise (Wu et al. 2024, arXiv 2401.05779)."""

from dataclasses import dataclass

import torch
from torch import nn

from tdattr.ranges import Positive
from tdattr.seeding import torch_seed
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import (
    Losses,
    Step,
    UnlearnContext,
    Weighted,
    loss_towards,
    retained_loss,
)


@dataclass(frozen=True)
class EraseDiff(Weighted):
    """The ``objective=erasediff`` node: retain + weight · |prediction - independent noise|^2."""

    name: str
    weight: Positive

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        retain = retained_loss(context)
        rng = torch.Generator().manual_seed(torch_seed(context.seed, "erasediff"))

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            noise = batch.forget.noise
            target = torch.randn(noise.shape, generator=rng).to(noise.device)
            forgotten = loss_towards(context.diffusion, network, batch.forget, target).mean()
            return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

        return step
