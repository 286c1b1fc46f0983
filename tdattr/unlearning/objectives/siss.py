"""SISS without importance sampling (Alberti et al. 2025, arXiv 2503.01034): deletion in proportion to the sizes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.objectives import Losses, Objective, Step, UnlearnContext, check_above_zero, retained_loss


@dataclass(frozen=True)
class SISS(Objective):
    """The ``objective=siss`` node: n / (n - k) · L_all - scale · k / (n - k) · L_forget.

    ``clip``: the gradient of the second term is at most this multiple of that of the retained loss alone. L_all, over
    the full set of n items, is the mean of the retained and the forgotten loss in proportion to their numbers. The
    whole is therefore L_retain + k / (n - k) · (1 - scale · the clip's factor) · L_forget. With a scale of 1 and no
    clipping, the retained loss is what is left; only a larger scale ascends. Where the clip binds, as it does for all
    but small groups, the forgotten items are trained on.
    """

    retains: ClassVar = ("loss",)  # it subtracts from the usual loss

    name: str
    scale: float
    clip: float

    def __post_init__(self) -> None:
        check_above_zero(self.name, scale=self.scale, clip=self.clip)

    def begin(self, context: UnlearnContext) -> Step:
        """The clipped difference of the two losses."""
        retain = retained_loss(context)
        n, k = len(context.retained) + len(context.forgotten), len(context.forgotten)

        def step(network: nn.Module, batch: UnlearnBatch) -> Losses:
            kept = retain(network, batch.retain)
            forgotten = context.diffusion.loss(network, *batch.forget.inputs).mean()
            full = ((n - k) * kept + k * forgotten) / n
            first, second = n / (n - k) * full, self.scale * k / (n - k) * forgotten
            lengths = [gradient_length(loss, network) for loss in (kept, second)]
            factor = (self.clip * lengths[0] / lengths[1].clamp(min=1e-30)).clamp(max=1)
            return Losses(first - factor * second, retain=kept, forget=forgotten, more={"clip": factor})

        return step


def gradient_length(loss: Tensor, network: nn.Module) -> Tensor:
    """The length of the gradient of a loss over all trainable parameters; the graph is kept."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.stack([gradient.square().sum() for gradient in gradients if gradient is not None]).sum().sqrt()
