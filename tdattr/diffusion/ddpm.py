"""DDPM (Ho et al. 2020): discrete levels t, noise prediction; sampled by DDIM or ancestrally."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tdattr.diffusion.guidance import Guided
from tdattr.errors import UserError
from tdattr.networks import Network
from tdattr.seeding import normal

COSINE_OFFSET = 0.008  # Nichol & Dhariwal 2021, eq. 17
MAX_BETA = 0.999  # same place


@dataclass(frozen=True)
class DDPM:
    """The ``diffusion=ddpm`` node. ``schedule``: ``cosine`` or ``linear``; ``sampler``: ``ddim`` or ``ancestral``.

    A level is t as a float, 0 (almost clean) to ``timesteps - 1`` (noise). ``steps`` is for DDIM alone: the
    ancestral sampler visits every t.
    """

    sampling: ClassVar = ("sampler", "steps")  # what only generation reads

    name: str
    timesteps: int
    schedule: str
    beta_start: float
    beta_end: float
    sampler: str
    steps: int

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "linear"):
            raise UserError(f"diffusion.schedule={self.schedule} is unknown: choose cosine or linear.")
        if self.sampler not in ("ddim", "ancestral"):
            raise UserError(f"diffusion.sampler={self.sampler} is unknown: choose ddim or ancestral.")
        if not 1 <= self.steps <= self.timesteps:
            raise UserError(f"diffusion.steps={self.steps} must lie between 1 and timesteps={self.timesteps}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError("diffusion.beta_start and beta_end must satisfy 0 < beta_start <= beta_end < 1.")

    @cached_property
    def alpha_bar(self) -> Float[Tensor, " timesteps"]:
        """The cumulative product of 1 - beta, in double precision."""
        t = torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps
        if self.schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)
        else:
            curve = ((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos() ** 2
            betas = (1 - curve[1:] / curve[:-1]).clamp(max=MAX_BETA)
        return (1 - betas).cumprod(0)

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """t uniform over all timesteps."""
        return torch.from_numpy(rng.integers(self.timesteps, size=count)).float()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """``count`` timesteps from the last to the first, evenly spaced and rounded."""
        return torch.linspace(self.timesteps - 1, 0, count, dtype=torch.float64).round().float()

    def noise_prediction(
        self,
        network: Callable[..., Tensor],
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        *extra: Tensor | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """The predicted noise; the network sees a quarter of the log of the noise-to-signal ratio, as under EDM."""
        codes = (((1 - self.alpha_bar) / self.alpha_bar).log() / 8).float()  # float32: some devices have no double
        return network(x, codes.to(level.device)[level.long()], *extra)

    def loss(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
        augmentation: Float[Tensor, "batch label"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """mean over pixels of (eps - eps_theta(sqrt(abar) x + sqrt(1 - abar) eps, t))^2 (Ho et al. 2020, eq. 14)."""
        kept = self.alpha_bar.float().to(level.device)[level.long()][:, None, None, None]
        noised = kept.sqrt() * x + (1 - kept).sqrt() * noise
        predicted = self.noise_prediction(network, noised, level, condition, drop, augmentation)
        return (predicted.float() - noise).square().flatten(1).mean(1)

    def predicted_noise(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """What the network puts out."""
        kept = self.alpha_bar.float().to(level.device)[level.long()][:, None, None, None]
        noised = kept.sqrt() * x + (1 - kept).sqrt() * noise
        return self.noise_prediction(network, noised, level, condition, drop, None).float()

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """1."""
        return torch.ones_like(level)

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """ln of alpha_bar / (1 - alpha_bar)."""
        kept = self.alpha_bar[level.long().cpu()]
        return kept.log() - (1 - kept).log()

    def ladder(self, steps: int) -> Float[Tensor, " level"]:
        """All timesteps; ``steps`` is for the continuous variants."""
        return torch.arange(self.timesteps).float()

    def sample(
        self,
        network: Network,
        rngs: list[np.random.Generator],
        shape: tuple[int, int, int],
        condition: Float[Tensor, "batch condition"] | None,
        guidance: float | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """DDIM with eta 0 (Song et al. 2021, eq. 12), or ancestral with the small variance (Ho et al. 2020, alg. 2).

        The predicted clean image is clipped to [-1, 1] in both.
        """
        device = condition.device if condition is not None else next(network.parameters()).device  # type: ignore[attr-defined]
        guided = Guided(network, guidance)
        count = self.steps if self.sampler == "ddim" else self.timesteps
        visited = self.generation_levels(count).long().tolist()
        kept = self.alpha_bar.tolist()
        x = torch.stack([normal(rng, *shape) for rng in rngs]).to(device)
        for t, following in zip(visited, [*visited[1:], -1], strict=True):
            now, after = kept[t], kept[following] if following >= 0 else 1.0
            eps = self.noise_prediction(guided, x, x.new_full((len(x),), t), condition)
            clean = ((x - math.sqrt(1 - now) * eps) / math.sqrt(now)).clamp(-1, 1)
            if self.sampler == "ddim":
                eps = (x - math.sqrt(now) * clean) / math.sqrt(1 - now)
                x = math.sqrt(after) * clean + math.sqrt(1 - after) * eps
                continue
            alpha = now / after
            mean = (math.sqrt(after) * (1 - alpha) * clean + math.sqrt(alpha) * (1 - after) * x) / (1 - now)
            spread = math.sqrt((1 - alpha) * (1 - after) / (1 - now))
            x = (
                mean + spread * torch.stack([normal(rng, *shape) for rng in rngs]).to(device)
                if following >= 0
                else mean
            )
        return x
