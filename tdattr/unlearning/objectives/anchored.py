"""GUDA-C's loss: forgotten items are to look as F1 sees an anchor, at the same noise and level (arXiv 2601.22651)."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from tdattr.costs import Work
from tdattr.diffusion.batch import Batch
from tdattr.seeding import generator
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import (
    Losses,
    Objective,
    Stateful,
    Step,
    UnlearnContext,
    loss_towards,
    retained_loss,
    step_on_both,
)

Choose = Callable[[UnlearnBatch, np.random.Generator], Batch]  # the anchors of the forgotten items of a step


class Anchored(Objective):
    """|prediction of a forgotten item - F1's prediction of its anchor|² + weight · retain, each a mean over its items.

    ``weight``, of what is retained, is lambda: the larger it is, the less is forgotten.
    """

    weighted: ClassVar = True

    weight: float

    def compared(self) -> Mapping[str, float]:
        """The weight."""
        return {"lambda": self.weight}

    def scale_weight(self, share: float) -> "Anchored":
        """Forgetting weighs ``share`` times as much beside what is retained."""
        return replace(self, weight=self.weight / share)  # type: ignore[type-var]

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step, and F1's prediction of each anchor."""
        return step_on_both(retained, forgotten, retain) + Work(evaluations=forgotten)

    def begin(self, context: UnlearnContext) -> Step:
        """The sum of the two losses."""
        return AnchoredStep(context, self.weight, self.anchors(context))

    @abstractmethod
    def anchors(self, context: UnlearnContext) -> Choose:
        """Compute what all steps share, and return what chooses the anchors of a step."""


class AnchoredStep(Stateful):
    """The loss of a step; the anchors of each are drawn from a generator of its own."""

    def __init__(self, context: UnlearnContext, weight: float, choose: Choose) -> None:
        self.diffusion, self.seed, self.weight, self.choose = context.diffusion, context.seed, weight, choose
        self.f1 = context.f1()
        self.retain = retained_loss(context, self.f1)
        self.step = 0

    def __call__(self, network: nn.Module, batch: UnlearnBatch) -> Losses:
        """The sum of the two losses."""
        kept = self.retain(network, batch.retain)
        anchors = self.choose(batch, generator(self.seed, "anchors", self.step))
        self.step += 1
        with torch.no_grad():
            target = self.diffusion.predicted_noise(self.f1, *anchors.inputs)
        forgotten = loss_towards(self.diffusion, network, batch.forget, target).mean()
        return Losses(forgotten + self.weight * kept, retain=kept, forget=forgotten)

    def state(self) -> int:
        """The steps that were taken."""
        return self.step

    def restore(self, state: int) -> None:
        """Go on after these."""
        self.step = state


def tell(batch: Batch, condition: torch.Tensor | None) -> Batch:
    """The same noised items under other conditions."""
    told = None if condition is None else condition.to(batch.x.device)
    return replace(batch, given=replace(batch.given, condition=told))
