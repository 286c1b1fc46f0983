"""Flow matching on straight paths (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, arXiv 2209.03003).

A level is t: x_t = (1 - t) x + t n, from the clean image at 0 to noise at 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tdattr.diffusion.guidance import Guided
from tdattr.errors import UserError
from tdattr.networks import Network
from tdattr.seeding import normal


@dataclass(frozen=True)
class Flow:
    """The ``diffusion=flow`` node. ``levels``: ``uniform`` or ``logit_normal``; ``sampler``: ``euler`` or ``heun``."""

    sampling: ClassVar = ("sampler", "steps")  # what only generation reads

    name: str
    levels: str
    logit_mean: float
    logit_std: float
    sampler: str
    steps: int

    def __post_init__(self) -> None:
        if self.levels not in ("uniform", "logit_normal"):
            raise UserError(f"diffusion.levels={self.levels} is unknown: choose uniform or logit_normal.")
        if self.sampler not in ("euler", "heun"):
            raise UserError(f"diffusion.sampler={self.sampler} is unknown: choose euler or heun.")
        if self.steps < 1:
            raise UserError(f"diffusion.steps={self.steps} must be at least 1.")
        if self.logit_std <= 0:
            raise UserError(f"diffusion.logit_std={self.logit_std} must be above 0.")

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """t uniform in (0, 1), or logit(t) ~ N(logit_mean, logit_std^2) (Esser et al. 2024, arXiv 2403.03206, §3.1)."""
        if self.levels == "uniform":
            return torch.from_numpy(rng.random(count)).float()
        return (normal(rng, count) * self.logit_std + self.logit_mean).sigmoid()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """t = 1, 1 - 1 / count, ..., 1 / count; the final zero is not a level."""
        return (1 - torch.arange(count, dtype=torch.float64) / count).float()

    def velocity(
        self,
        network: Callable[..., Tensor],
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        *extra: Tensor | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """The predicted velocity; the network sees 2 t - 1, of about the range of the codes of the other variants."""
        return network(x, 2 * level - 1, *extra)

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
        """mean over pixels of (v(x_t, t) - (n - x))^2 (Lipman et al. eq. 23 with sigma_min 0, time reversed)."""
        t = level[:, None, None, None]
        predicted = self.velocity(network, (1 - t) * x + t * noise, level, condition, drop, augmentation)
        return (predicted.float() - (noise - x)).square().flatten(1).mean(1)

    def predicted_noise(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """x_t + (1 - t) v."""
        t = level[:, None, None, None]
        noised = (1 - t) * x + t * noise
        return noised + (1 - t) * self.velocity(network, noised, level, condition, drop, None).float()

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """1 / (1 - t)^2."""
        return (1 - level) ** -2

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """2 ln((1 - t) / t)."""
        t = level.double().cpu()
        return 2 * (torch.log1p(-t) - t.log())

    def ladder(self, steps: int) -> Float[Tensor, " level"]:
        """t = 1 / (steps + 1), 2 / (steps + 1), ...: without the pure noise of t = 1."""
        return (torch.arange(1, steps + 1, dtype=torch.float64) / (steps + 1)).float()

    def sample(
        self,
        network: Network,
        rngs: list[np.random.Generator],
        shape: tuple[int, int, int],
        condition: Float[Tensor, "batch condition"] | None,
        guidance: float | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """dx/dt = v(x, t) from t = 1 to 0 in ``steps`` equal steps of Euler or of second-order Heun.

        Heun's last step is Euler's, as in EDM: t = 0 itself is no level of the training.
        """
        device = condition.device if condition is not None else next(network.parameters()).device  # type: ignore[attr-defined]
        guided = Guided(network, guidance)

        def slope(x: Tensor, t: float) -> Tensor:
            return self.velocity(guided, x, x.new_full((len(x),), t), condition)

        x = torch.stack([normal(rng, *shape) for rng in rngs]).to(device)
        for now, after in pairwise([*self.generation_levels(self.steps).tolist(), 0.0]):
            first = slope(x, now)
            ahead = x + (after - now) * first
            heun = self.sampler == "heun" and after > 0
            x = x + (after - now) * (first + slope(ahead, after)) / 2 if heun else ahead
        return x.clamp(-1, 1)
