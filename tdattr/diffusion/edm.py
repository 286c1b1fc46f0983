"""EDM (Karras et al. 2022, arXiv 2206.00364), the variant of the MUCS paper; a level is sigma."""

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
class EDM:
    """The ``diffusion=edm`` node; the published figures are in ``conf/diffusion/edm.yaml``."""

    sampling: ClassVar = ("sigma_min", "sigma_max", "rho", "steps")  # what only generation reads

    name: str
    p_mean: float
    p_std: float
    sigma_data: float
    sigma_min: float
    sigma_max: float
    rho: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max or min(self.sigma_data, self.p_std, self.rho) <= 0 or self.steps < 1:
            raise UserError(
                "diffusion needs 0 < sigma_min < sigma_max, sigma_data, p_std and rho above 0, and at least 1 step."
            )

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """ln sigma ~ N(p_mean, p_std^2) (EDM Table 1)."""
        return (normal(rng, count) * self.p_std + self.p_mean).exp()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """sigma_max down to sigma_min, evenly spaced in sigma^(1/rho) (EDM eq. 5); the final zero is not a level."""
        ramp = torch.linspace(0, 1, count, dtype=torch.float64)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((high + ramp * (low - high)) ** self.rho).float()

    def denoise(
        self,
        network: Callable[..., Tensor],
        x: Float[Tensor, "batch channel height width"],
        sigma: Float[Tensor, " batch"],
        *extra: Tensor | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """D(x; sigma) = c_skip x + c_out Net(c_in x, c_noise) (EDM eq. 7 and Table 1)."""
        total = (sigma**2 + self.sigma_data**2)[:, None, None, None]
        s = sigma[:, None, None, None]
        out = network(x / total.sqrt(), sigma.log() / 4, *extra)
        return x * (self.sigma_data**2 / total) + out * (s * self.sigma_data / total.sqrt())

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
        """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 * mean over pixels of (D(x + sigma n) - x)^2 (EDM eq. 2)."""
        denoised = self.denoise(network, x + level[:, None, None, None] * noise, level, condition, drop, augmentation)
        weight = (level**2 + self.sigma_data**2) / (level * self.sigma_data) ** 2
        return weight * (denoised.float() - x).square().flatten(1).mean(1)

    def predicted_noise(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """n + (x - D) / sigma."""
        denoised = self.denoise(network, x + level[:, None, None, None] * noise, level, condition, drop, None)
        return noise + (x - denoised.float()) / level[:, None, None, None]

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """(sigma^2 + sigma_data^2) / sigma_data^2: eq. 2's weight times sigma^2."""
        return (level / self.sigma_data) ** 2 + 1

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """-2 ln sigma."""
        return -2 * level.double().cpu().log()

    def ladder(self, steps: int) -> Float[Tensor, " level"]:
        """``steps`` levels of the generation schedule, upwards."""
        return self.generation_levels(steps).flip(0)

    def sample(
        self,
        network: Network,
        rngs: list[np.random.Generator],
        shape: tuple[int, int, int],
        condition: Float[Tensor, "batch condition"] | None,
        guidance: float | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """Deterministic second-order Heun in ``steps`` steps (EDM algorithm 1)."""
        device = condition.device if condition is not None else next(network.parameters()).device  # type: ignore[attr-defined]
        guided = Guided(network, guidance)
        sigmas = [*self.generation_levels(self.steps).tolist(), 0.0]
        x = torch.stack([normal(rng, *shape) for rng in rngs]).to(device) * sigmas[0]

        def slope(x: Tensor, sigma: float) -> Tensor:
            return (x - self.denoise(guided, x, x.new_full((len(x),), sigma), condition)) / sigma

        for now, after in pairwise(sigmas):
            first = slope(x, now)
            ahead = x + (after - now) * first
            x = x + (after - now) * (first + slope(ahead, after)) / 2 if after > 0 else ahead
        return x.clamp(-1, 1)
