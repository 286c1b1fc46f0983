"""SISS without importance sampling (Alberti et al. 2025, arXiv 2503.01034), as its authors run it: a forget gradient of
a fixed length is taken off the gradient of what is retained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.ranges import Positive
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Objective, Step, UnlearnContext, retained_loss, step_on_both

# while its gradient is taken, a loss is multiplied by the first of these that float16 can hold; elsewhere that is exact
SCALES = (2.0**16, 2.0**8, 1.0)
TINY = 1e-30  # below which a length counts as zero


@dataclass(frozen=True)
class SISS(Objective):
    """The ``objective=siss`` node: the step follows g_retain - (s / |g_forget|) g_forget.

    Both are gradients of the usual loss, g_retain over retained items alone, so that the step always ascends on the
    forgotten ones and does not depend on how many they are. ``length`` of the forget part, s: ``relative``, that is
    ``strength`` times |g_retain|, or ``absolute``: ``strength`` itself, in the unit of the run's loss.
    """

    retains: ClassVar = ("loss",)  # the gradient of a distance from F1 is zero at F1, where no step would be taken

    name: str
    length: Literal["relative", "absolute"]
    strength: Positive

    def work(self, retained: int, forgotten: int, retain: Literal["loss", "distill"]) -> Work:
        """The usual step."""
        return step_on_both(retained, forgotten, retain)

    def begin(self, context: UnlearnContext) -> Step:
        """The step's gradient; the loss shown is retain - (s / |g_forget|) · forget."""
        retain = retained_loss(context)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            weights = [weight for weight in network.parameters() if weight.requires_grad]
            kept, first, first_length = gradient(retain(network, batch.retain), weights)
            loss = context.diffusion.loss(network, *batch.forget.inputs).mean()
            forgotten, second, second_length = gradient(loss, weights)
            unit = first_length if self.length == "relative" else torch.ones_like(first_length)
            factor = self.strength * unit / second_length.clamp(min=TINY)
            combined = [subtract(one, factor, other) for one, other in zip(first, second, strict=True)]
            total = with_gradient(kept - factor * forgotten, weights, combined)
            share = -factor * second_length / first_length.clamp(min=TINY)
            return Losses(total, retain=kept, forget=forgotten, more={"forget_gradient": share})

        return step


def gradient(loss: Tensor, weights: Sequence[nn.Parameter]) -> tuple[Tensor, list[Tensor | None], Tensor]:
    """A loss without what its backward pass needs, its gradient, None for weights that it does not depend on, and the
    length of that over all of them.

    A backward pass in float16 loses what is small: it is run on a multiple of the loss, as Lightning runs its own.
    """
    for scale in SCALES:
        scaled = torch.autograd.grad(loss * scale, weights, retain_graph=scale != SCALES[-1], allow_unused=True)
        found: list[Tensor | None] = [None if part is None else part.float() / scale for part in scaled]
        length = torch.stack([part.norm() for part in found if part is not None]).norm()
        if length.isfinite():
            break
    return loss.detach(), found, length


def subtract(first: Tensor | None, factor: Tensor, second: Tensor | None) -> Tensor | None:
    """first - factor · second, where a gradient that is not there is zero."""
    if second is None:
        return first
    return -factor * second if first is None else first - factor * second


def with_gradient(value: Tensor, weights: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
    """A scalar of that value whose gradient with respect to the weights is the given one, without a backward pass
    through the network."""
    products = [(w * g).sum() for w, g in zip(weights, gradients, strict=True) if g is not None]
    linear = torch.stack(products).sum()
    return value + linear - linear.detach()
