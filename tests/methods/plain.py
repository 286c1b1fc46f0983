"""What methods are checked against: losses and gradients written out once more, one item at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tdattr.features import Embed, Extractor, Setting
from tdattr.networks import Given
from tdattr.scoring.gradients import Gradients
from tdattr.seeding import normal

# the weights of the MLPs of the tiny DiT
MLP = ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight", "condition.0.weight", "condition.3.weight")


def schedule(points: int, pairs: int) -> Tensor:
    """The first ``pairs`` of ``points`` noise levels of EDM's generation."""
    ramp = torch.arange(pairs) / (points - 1)
    return (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7


def training_levels(rng: np.random.Generator, count: int) -> Tensor:
    """Noise levels as EDM draws them for training."""
    return (normal(rng, count) * 1.2 - 1.2).exp()


def loss_of(
    network: Callable[..., Tensor],
    x: Tensor,
    sigma: Tensor,
    noise: Tensor,
    condition: Tensor | None,
    label: Tensor | None = None,
) -> Tensor:
    """EDM's loss per item; ``label``: of the augmentation."""
    s = sigma.reshape(-1, 1, 1, 1)
    noised = x + s * noise
    raw = network(noised / (s**2 + 0.25).sqrt(), sigma.log() / 4, Given(condition, augmentation=label))
    denoised = 0.25 / (s**2 + 0.25) * noised + 0.5 * s / (s**2 + 0.25).sqrt() * raw
    return ((s**2 + 0.25) / (0.5 * s) ** 2 * (denoised - x) ** 2).mean((1, 2, 3))


def one_by_one(gradients: Gradients, x: Tensor, condition: Tensor | None) -> Tensor:
    """Gradients by plain autograd: one backward pass per item and draw."""
    network, diffusion = gradients.network, gradients.diffusion
    found = []
    for index in range(len(x)):
        total = torch.zeros(gradients.size)
        for level, noise in zip(gradients.noise.levels, gradients.noise.noise, strict=True):
            seen: list[Tensor] = []

            def record(*inputs: Any, seen: list[Tensor] = seen) -> Tensor:
                seen.append(network(*inputs))
                return seen[-1]

            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name in gradients.names)
                parameter.grad = None
            given = Given(condition)[index : index + 1]
            loss = diffusion.loss(record, x[index : index + 1], level[None], noise[None], given)
            value = {"loss": loss.mean(), "squared_output": (seen[0] ** 2).mean(), "mean_output": seen[0].mean()}
            value[gradients.config.output].backward()
            flat = [network.get_parameter(name).grad for name in gradients.names]
            row = torch.cat(
                [
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for g, p in zip(flat, [network.get_parameter(name) for name in gradients.names], strict=True)
                ]
            )
            total += (row / row.norm() if gradients.config.normalise else row) / len(gradients.noise)
        found.append(total)
    return torch.stack(found)


@dataclass(frozen=True)
class Rows(Extractor):
    """An extractor: the mean of every row."""

    name: str = "rows"

    def load(self, setting: Setting) -> Embed:
        return lambda images: images.mean((1, 3))
