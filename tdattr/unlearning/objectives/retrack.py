"""ReTrack: forgotten items are steered to their nearest retained neighbours (as GUDA describes it)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.ranges import Count, Positive
from tdattr.seeding import generator
from tdattr.unlearning.draws import UnlearnBatch, restricted_draw
from tdattr.unlearning.neighbours import nearest
from tdattr.unlearning.objectives import (
    Losses,
    ObjectiveSetup,
    Step,
    UnlearnContext,
    Weighted,
    retained_loss,
    step_on_both,
    weighted_distance,
)

EPSILON = 1e-8  # of the published code's division
CHUNK = 32  # items at a time, so that their differences stay in a processor's cache


@dataclass(frozen=True)
class ReTrack(Weighted):
    """The ``objective=retrack`` node.

    ``neighbours``: k; they are found among items that are not mirrored, and those of a mirrored item are mirrored too.
    ``kl_cap``: the correction towards a neighbour is at most sqrt(2 kl_cap) long; None: no cap. ``window``: the lowest
    and the highest noise level that both batches are drawn at, in the diffusion variant's unit; None: all.
    ``weighting`` of the neighbours: ``softmax``, computed on logarithms, or ``published_code``, whose exponentials
    underflow at image size so that the target becomes zero. ``contrast`` (ours): the loss minus the loss of the true
    noise. That difference is linear in the prediction: it pushes with the same force wherever the prediction is, so a
    large weight never stops pushing.
    """

    code_version: ClassVar[int] = 2

    name: str
    weight: Positive
    neighbours: Count
    kl_cap: Positive | None
    window: list[float] | None
    weighting: Literal["softmax", "published_code"]
    contrast: bool

    def __post_init__(self) -> None:
        if self.window is not None and not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise UserError(
                f"method.objective.window={self.window} must be the lowest and a higher level, or null: all."
            )

    def check(self, setup: ObjectiveSetup) -> None:
        """The window must hold levels of training."""
        window = self.level_window()
        if window is not None:
            restricted_draw(setup.diffusion, window)(generator(0, "retrack.window"), 1)

    def level_window(self) -> tuple[float, float] | None:
        """GUDA's public code draws both batches inside the window."""
        return None if self.window is None else (self.window[0], self.window[1])

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step."""
        return step_on_both(retained, forgotten, retain)

    def begin(self, context: UnlearnContext) -> Step:
        """Find the neighbours; then the sum of the two losses."""
        retain = retained_loss(context)
        near = nearest(context.split, context.forgotten, context.retained, self.neighbours)
        row_of = {int(item): row for row, item in enumerate(context.forgotten)}

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forget = batch.forget
            assert forget.ids is not None and forget.mirrored is not None
            ids = near[[row_of[item] for item in forget.ids.tolist()]]
            mirrored = np.repeat(forget.mirrored.cpu().numpy(), ids.shape[1])
            neighbours = context.split.x(ids.ravel(), mirrored).to(forget.x.device).unflatten(0, ids.shape)
            target = self.target(context.diffusion, forget.x, neighbours, forget.level, forget.noise)
            predicted = context.diffusion.predicted_noise(network, *forget.inputs)
            losses = weighted_distance(context.diffusion, forget, predicted, target)
            if self.contrast:
                losses = losses - weighted_distance(context.diffusion, forget, predicted, forget.noise)
            forgotten = losses.mean()
            return Losses(kept + self.weight * forgotten, retain=kept, forget=forgotten)

        return step

    def target(
        self,
        diffusion: Diffusion,
        x: Float[Tensor, "batch channel height width"],
        neighbours: Float[Tensor, "batch neighbour channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, "batch channel height width"]:
        """The noise that leads from the noised ``x`` to its neighbours, each in proportion to its likelihood.

        With signal γ and noise s, x_t = γ x + s ε: a neighbour a weighs exp(-|x_t - γ a|² / 2 s²), and its noise is
        ε + (γ / s)(x - a), the second term clipped.
        """
        ratio = (diffusion.log_snr(level) / 2).exp().float().to(x.device)[:, None]  # γ / s
        parts = (x.flatten(1)[:, None], neighbours.flatten(2), noise.flatten(1)[:, None], ratio)
        targets = []
        for item, others, added, scale in zip(*(part.split(CHUNK) for part in parts), strict=True):
            gap = item - others
            lengths = scale * gap.norm(dim=2)  # of the corrections
            logits = -(lengths.square() / 2 + scale * (added @ gap.transpose(1, 2))[:, 0])  # but for |ε|² / 2
            if self.weighting == "softmax":
                weights = torch.log_softmax(logits, dim=1).exp()
            else:
                exponentials = (logits - added.square().sum(2) / 2).exp()
                weights = exponentials / (exponentials.sum(1, keepdim=True) + EPSILON)
            factors = weights * scale
            if self.kl_cap is not None:
                factors = factors * (math.sqrt(2 * self.kl_cap) / lengths.clamp(min=EPSILON)).clamp(max=1)
            targets.append(torch.baddbmm(added * weights.sum(1)[:, None, None], factors[:, None], gap))
        return torch.cat(targets).view_as(noise)
