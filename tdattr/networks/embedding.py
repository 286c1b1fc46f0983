"""How networks are told the noise level and the condition (MUCS A.3)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

FREQUENCIES = 128  # a sine and a cosine of each: 256 Fourier features


class Fourier(nn.Module):
    """Sines and cosines of a noise code at fixed frequencies; no parameters.

    The frequencies are 2 pi (e^f - 1) / (e - 1) for f = 1/128, 2/128, ..., 1: periods from 1 to 220, which resolve
    codes that differ by hundredths and span a few units.
    """

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        ramp = torch.arange(1, FREQUENCIES + 1) / FREQUENCIES
        self.register_buffer("frequencies", 2 * math.pi * (ramp.exp() - 1) / (math.e - 1), persistent=False)

    def forward(self, code: Float[Tensor, " batch"]) -> Float[Tensor, "batch feature"]:
        angles = code.float()[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def two_layers(inputs: int, width: int, dropout: float) -> nn.Sequential:
    """The two-layer SiLU MLP that embeds noise levels and conditions."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))
