"""How networks are told the noise level and what they are given besides (MUCS A.3)."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tdattr.networks import Given, Network

FREQUENCIES = 128  # a sine and a cosine of each: 256 Fourier features


class Fourier(nn.Module):
    """Sines and cosines of c_noise at fixed frequencies; no parameters.

    The frequencies are 2 pi (e^f - 1) / (e - 1) for f = 1/128, 2/128, ..., 1: periods from 1 to 220, which resolve
    values that differ by hundredths and span a few units.
    """

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        ramp = torch.arange(1, FREQUENCIES + 1) / FREQUENCIES
        self.register_buffer("frequencies", 2 * math.pi * (ramp.exp() - 1) / (math.e - 1), persistent=False)

    def forward(self, c_noise: Float[Tensor, " batch"]) -> Float[Tensor, "batch feature"]:
        angles = c_noise.float()[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def two_layers(inputs: int, width: int, dropout: float) -> nn.Sequential:
    """The two-layer SiLU MLP that embeds noise levels and conditions."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))


class EmbeddingNetwork(Network):
    """A network that adds the embeddings of the condition and the augmentation to that of the noise level."""

    condition: nn.Module  # embeds conditions, where the network is conditional
    null: Tensor  # what ``condition`` embeds in place of a dropped condition
    augmentation: nn.Module  # embeds the two classes of items, where the network knows augmentation

    def add_condition(self, size: int, width: int, dropout: float) -> None:
        """Make the embedding of condition vectors and the learned null condition; nothing where ``size`` is 0."""
        self.conditional = size > 0
        if self.conditional:
            self.condition = two_layers(size, width, dropout)
            self.null = nn.Parameter(torch.zeros(size))

    def add_augmentation(self, width: int, enabled: bool) -> None:
        """Make the embedding of augmentation's two classes, where it is ``enabled``; it starts from N(0, 1)."""
        self.knows_augmentation = enabled
        if enabled:
            self.augmentation = nn.Embedding(2, width)

    def embed_given(self, embedding: Float[Tensor, "batch width"], given: Given) -> Float[Tensor, "batch width"]:
        """``embedding``, that of the noise level, plus those of what is given."""
        condition = self.seen_condition(given, len(embedding))
        if condition is not None:
            embedding = embedding + self.condition(condition)
        if self.knows_augmentation:
            untouched = torch.zeros(len(embedding), dtype=torch.long, device=embedding.device)
            embedding = embedding + self.augmentation(untouched if given.augmentation is None else given.augmentation)
        return embedding

    def seen_condition(self, given: Given, count: int) -> Shaped[Tensor, "batch *condition"] | None:
        """What ``condition`` embeds for ``count`` items; None where nothing is to be added."""
        return given.with_null(self.null) if given.condition is not None else None
