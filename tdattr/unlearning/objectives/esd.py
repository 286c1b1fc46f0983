"""ESD: forgotten conditions are steered away from themselves (Gandikota et al. 2023, arXiv 2303.07345)."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import (
    Losses,
    Step,
    UnlearnContext,
    Weighted,
    check_above_zero,
    loss_towards,
    retained_loss,
)


@dataclass(frozen=True)
class ESD(Weighted):
    """The ``objective=esd`` node: the target is eps_uncond - guidance (eps_cond - eps_uncond) of the frozen F1."""

    name: str
    weight: float
    guidance: float

    def __post_init__(self) -> None:
        check_above_zero(self.name, weight=self.weight)
        if not self.guidance >= 0:
            raise UserError(f"objective={self.name} needs guidance of at least 0, not {self.guidance}.")

    def check(self, diffusion: Diffusion, conditional: bool) -> None:
        """It needs a conditional model."""
        if not conditional:
            raise UserError(
                "objective=esd steers away from a condition, but this model has none: use a dataset with conditions "
                "(dataset.source.condition=…), or another objective."
            )

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        retain = retained_loss(context)
        f1 = context.f1()

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            x, level, noise, given = batch.forget.inputs
            all_items = torch.ones(len(x), dtype=torch.bool, device=x.device)
            with torch.no_grad():
                conditional, unconditional = (
                    context.diffusion.predicted_noise(f1, x, level, noise, replace(given, drop=drop))
                    for drop in (~all_items, all_items)
                )
            target = unconditional - self.guidance * (conditional - unconditional)
            forget = replace(batch.forget, given=replace(given, drop=~all_items))
            forgotten = loss_towards(context.diffusion, network, forget, target).mean()
            return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

        return step
