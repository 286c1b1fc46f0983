"""A network of one linear layer, of which much can be written down."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from tdattr.networks import NOTHING, Given, Network

VALUES = 64  # of an image


class Flat(Network):
    """One linear layer."""

    parts: ClassVar = {"all": ("*",)}
    conditional, has_null, knows_augmentation = False, True, False

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.linear = nn.Linear(VALUES, VALUES)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return self.linear(self.dropout(x.flatten(1))).view_as(x)
