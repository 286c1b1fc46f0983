"""Samplers: plain functions that take x from noise to a clean item.

The differential equations are given as a ``slope``: what it returns for (x, level) is the change of x per unit of the
variable of integration. The discrete processes are given as ``predict``, the clean item and the noise that the network
sees in x at t.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.seeding import normal

Slope = Callable[[Tensor, float], Tensor]
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]
Watch = Callable[[float, Tensor], None]  # is told of every step its level and the clean items predicted there
WatchSlope = Callable[[Tensor, float, Tensor], None]  # is told of every step x, the level and the slope


def draw_noise(
    network: nn.Module, rngs: list[np.random.Generator], shape: tuple[int, ...]
) -> Float[Tensor, "batch *shape"]:
    """Unit normal noise, one item from each generator, on the network's device."""
    device = next(network.parameters()).device
    return torch.stack([normal(rng, *shape) for rng in rngs]).to(device)


def heun(
    slope: Slope, x: Float[Tensor, "batch *shape"], levels: Sequence[float], watch: WatchSlope | None = None
) -> Float[Tensor, "batch *shape"]:
    """Second order, along ``levels``, which are the variable of integration and end in 0 (EDM, algorithm 1).

    The step to 0 is Euler's, as 0 is no level of the training.
    """
    for now, after in pairwise(levels):
        first = slope(x, now)
        if watch is not None:
            watch(x, now, first)
        ahead = x + (after - now) * first
        x = x + (after - now) * (first + slope(ahead, after)) / 2 if after > 0 else ahead
    return x


def euler(
    slope: Slope,
    x: Float[Tensor, "batch *shape"],
    levels: Sequence[float],
    lengths: Sequence[float],
    watch: WatchSlope | None = None,
) -> Float[Tensor, "batch *shape"]:
    """First order: from each of ``levels`` a step of so much of the variable of integration."""
    for level, length in zip(levels, lengths, strict=True):
        change = slope(x, level)
        if watch is not None:
            watch(x, level, change)
        x = x + length * change
    return x


def ends_straight(watch: Watch | None) -> WatchSlope | None:
    """``watch`` for a variant whose clean item lies where a straight line along the slope meets level 0."""
    return None if watch is None else lambda x, level, slope: watch(level, x - level * slope)


def ddim(
    predict: Predict,
    x: Float[Tensor, "batch *shape"],
    timesteps: Sequence[int],
    alpha_bar: Sequence[float],
    last: float,
    clip: float | None,
    recompute: bool,
    watch: Watch | None = None,
) -> Float[Tensor, "batch *shape"]:
    """DDIM with eta 0 (Song et al. 2021, eq. 12) through ``timesteps``, most noise first.

    ``alpha_bar``: of every timestep; ``last``: after the last step, where 1 is clean. The predicted clean item is
    clipped to [-clip, clip]. ``recompute``: the noise of the next x is what the clipped item leaves of x, not what was
    predicted.
    """
    for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        now, after = alpha_bar[t], last if following is None else alpha_bar[following]
        clean, eps = predict(x, t)
        clean = clipped(clean, clip)
        if watch is not None:
            watch(t, clean)
        if recompute:
            eps = (x - math.sqrt(now) * clean) / math.sqrt(1 - now)
        x = math.sqrt(after) * clean + math.sqrt(1 - after) * eps
    return x


def ancestral(
    predict: Predict,
    x: Float[Tensor, "batch *shape"],
    timesteps: Sequence[int],
    alpha_bar: Sequence[float],
    clip: float | None,
    large: bool,
    fresh: Callable[[], Float[Tensor, "batch *shape"]],
    watch: Watch | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Ancestral sampling (Ho et al. 2020, alg. 2), the last step without noise.

    ``timesteps``, ``alpha_bar`` and ``clip`` as in ``ddim``; ``fresh`` draws the noise of a step, whose variance is
    the ``large`` one of their §3.2, beta, or the small one, that of the posterior.
    """
    for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        now, after = alpha_bar[t], 1.0 if following is None else alpha_bar[following]
        clean = clipped(predict(x, t)[0], clip)
        if watch is not None:
            watch(t, clean)
        alpha = now / after
        x = (math.sqrt(after) * (1 - alpha) * clean + math.sqrt(alpha) * (1 - after) * x) / (1 - now)
        if following is not None:
            variance = 1 - alpha if large else (1 - alpha) * (1 - after) / (1 - now)
            x = x + math.sqrt(variance) * fresh()
    return x


def clipped(clean: Float[Tensor, "batch *shape"], clip: float | None) -> Float[Tensor, "batch *shape"]:
    """The clean item within [-clip, clip]; None: as it is."""
    return clean if clip is None else clean.clamp(-clip, clip)
