"""The network that the entries are computed with: a·x + b·code + d·sum(c), and c = 0 where the condition is dropped."""

import torch
from torch import Tensor, nn

from tdattr.networks import NOTHING, Given


class Toy(nn.Module):
    """``code``: what the network is told of the level."""

    def __init__(self, a: float = 0.0, b: float = 0.0, d: float = 0.0, **_: object) -> None:
        super().__init__()
        self.a, self.b, self.d = nn.Parameter(torch.tensor(a)), b, d

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        told = self.b * c_noise
        if given.condition is not None:
            shown = given.condition.sum(1)
            told = told + self.d * (shown if given.drop is None else shown * ~given.drop)
        return self.a * x + told.reshape(-1, *(1,) * (x.ndim - 1))
