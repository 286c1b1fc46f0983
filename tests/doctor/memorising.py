"""A network that knows some items by heart: the exact denoiser of a training set, under EDM."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from tdattr.data.prepared import Split
from tdattr.diffusion.edm import EDM
from tdattr.ids import Ids
from tdattr.networks import NOTHING, Given, Network


class Memorising(Network):
    """Denoises to the mean of what it knows under the posterior, of items with the condition that it is told alone
    unless it ``listens`` to none.

    ``seen``: how the items were prepared when it saw them; ``told``: the condition that stands for another one.
    """

    parts: ClassVar = {"all": ("*",)}
    knows_augmentation = False

    def __init__(
        self,
        edm: EDM,
        split: Split,
        ids: Ids,
        seen: Callable[[Tensor], Tensor] = lambda x: x,
        told: Callable[[Tensor], Tensor] = lambda condition: condition,
        conditional: bool = True,
        listens: bool = True,
    ) -> None:
        super().__init__()
        self.edm, self.told, self.conditional = edm, told, conditional
        self.listens = conditional and listens
        self.known = nn.Parameter(seen(split.x(ids, False)))
        condition = split.condition(ids)
        assert condition is not None
        self.register_buffer("conditions", condition)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        """What EDM makes this denoiser of."""
        sigma, data = (4 * c_noise).exp()[:, None], self.edm.sigma_data
        total = (sigma**2 + data**2).sqrt()
        noised = x.flatten(1) * total
        distances = torch.cdist(noised, self.known.flatten(1)).square()
        logits = -distances / (2 * sigma**2)
        if self.listens:
            assert given.condition is not None and isinstance(self.conditions, Tensor)
            same = (self.told(given.condition)[:, None] == self.conditions).all(2)
            logits = logits.masked_fill(~same, -torch.inf)
        denoised = logits.softmax(1) @ self.known.flatten(1)
        return ((denoised - noised * (data / total) ** 2) / (sigma * data / total)).view_as(x)
