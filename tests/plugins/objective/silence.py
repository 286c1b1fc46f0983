"""An unlearning objective of one's own: the network is to see no noise at all in what it forgets."""

from dataclasses import dataclass

import torch
from torch import nn

from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Step, UnlearnContext, Weighted, loss_towards, retained_loss


@dataclass(frozen=True)
class Silence(Weighted):
    """retain + weight · |predicted noise of the forgotten items|²."""

    name: str
    weight: float

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            target = torch.zeros_like(batch.forget.noise)
            forgotten = loss_towards(context.diffusion, network, batch.forget, target).mean()
            return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

        return step
