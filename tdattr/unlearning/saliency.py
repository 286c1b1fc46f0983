"""SalUn's mask: only the weights that matter most to what is forgotten are updated (Fan et al., arXiv 2310.12508)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tdattr.configs import Node
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.ranges import Count, Share

Masks = Mapping[str, Bool[Tensor, "..."]]  # by the name of a weight, which of its values are updated


@dataclass(frozen=True)
class Saliency(Node):
    """The ``mask`` node of an unlearning: the ``share`` of all weights with the largest |gradient of the usual loss on
    forgotten items| at F1 (section 4 of the paper), a mean over ``batches`` of them; None: as many as a pass has."""

    name: str
    share: Share
    batches: Count | None

    def choose(self, network: nn.Module, diffusion: Diffusion, batches: Iterable[Batch], device: torch.device) -> Masks:
        """The masks of the trainable weights of a network in evaluation mode, from those batches of forgotten items."""
        weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        gradients = [torch.zeros_like(weight) for weight in weights.values()]
        for batch in batches:
            loss = diffusion.loss(network, *batch.to(device).inputs).mean()
            parts = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for total, part in zip(gradients, parts, strict=True):
                if part is not None:
                    total += part
        sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
        chosen = torch.zeros_like(sizes, dtype=torch.bool)
        chosen[sizes.topk(max(1, round(self.share * len(sizes)))).indices] = True
        parts = chosen.split([gradient.numel() for gradient in gradients])
        return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts, strict=True)}


def restrict(network: nn.Module, optimizer: torch.optim.Optimizer, masks: Masks) -> list[RemovableHandle]:
    """Let an optimiser update nothing but what the masks choose; the handles end it.

    Elsewhere every gradient is zero, and what moves a weight without one, such as decay, is undone.
    """
    weights = [(network.get_parameter(name), mask) for name, mask in masks.items()]
    masked = [(weight, mask, weight.detach().clone()) for weight, mask in weights]

    def restore(*_: object) -> None:
        with torch.no_grad():
            for weight, mask, start in masked:
                weight.copy_(torch.where(mask, weight, start))

    handles = [weight.register_hook(lambda gradient, mask=mask: gradient * mask) for weight, mask, _ in masked]
    return [*handles, optimizer.register_step_post_hook(restore)]
