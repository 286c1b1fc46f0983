"""Schedules: the noise of a discrete diffusion process, and the learning rate over a training or an unlearning."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

AlphaBarSchedule = Literal["cosine", "linear", "scaled_linear"]
RateSchedule = Literal["constant", "cosine"]

COSINE_OFFSET = 0.008  # Nichol & Dhariwal 2021, eq. 17
MAX_BETA = 0.999  # Nichol & Dhariwal 2021, §3.2


def alpha_bar(
    timesteps: int, schedule: AlphaBarSchedule, beta_start: float, beta_end: float
) -> Float[Tensor, " timesteps"]:
    """The cumulative product of 1 - beta at t = 0, …, ``timesteps`` - 1, in double precision: falls from about 1.

    ``linear``: betas evenly from ``beta_start`` to ``beta_end`` (Ho et al. 2020, §4). ``scaled_linear``: their roots
    evenly (Stable Diffusion). ``cosine``: Nichol & Dhariwal 2021, eq. 17, which needs neither.
    """
    if schedule == "linear":
        betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64) ** 2
    else:
        t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
        curve = ((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos() ** 2
        betas = (1 - curve[1:] / curve[:-1]).clamp(max=MAX_BETA)
    return (1 - betas).cumprod(0)


def rescale(alpha_bar: Float[Tensor, " timesteps"]) -> Float[Tensor, " timesteps"]:
    """The schedule shifted and scaled so that nothing is left of an item at the last timestep, and as much as before at
    the first (Lin et al. 2023, arXiv 2305.08891, alg. 1)."""
    roots = alpha_bar.sqrt()
    return ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2


def leading(timesteps: int, count: int) -> Int[Tensor, " count"]:
    """The first timestep of each of ``count`` equal parts of a discrete process, ascending: 0, timesteps / count, ….

    Where ``count`` divides ``timesteps`` it is the spacing that diffusers calls leading, and D-TRAK's of gradients.
    """
    return torch.arange(count) * timesteps // count


def rate(step: int, warmup_steps: int, schedule: RateSchedule, total: int) -> float:
    """The factor of the learning rate at a step, in [0, 1].

    Up linearly over ``warmup_steps``, a little with each (in MUCS's code once per 1 000), then constant, or down a
    cosine to zero at ``total``.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    share = (step - warmup_steps) / max(1, total - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
