"""EDM (Karras et al. 2022, arXiv 2206.00364), the variant of the MUCS paper; a level is sigma."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import Diffusion, at_least_float32
from tdattr.diffusion.guidance import Guided
from tdattr.diffusion.samplers import Watch, draw_noise, ends_straight, heun
from tdattr.errors import UserError
from tdattr.networks import NOTHING, Forward, Given, per_item
from tdattr.ranges import Count, Positive
from tdattr.seeding import normal


@dataclass(frozen=True)
class EDM(Diffusion):
    """The ``diffusion=edm`` node; the published figures are in ``conf/diffusion/edm.yaml``."""

    sampling: ClassVar = ("sigma_min", "sigma_max", "rho", "steps")  # what only generation reads

    name: str
    p_mean: float
    p_std: Positive
    sigma_data: Positive
    sigma_min: Positive
    sigma_max: Positive
    rho: Positive
    steps: Count

    def __post_init__(self) -> None:
        if self.sigma_min >= self.sigma_max:
            raise UserError(f"diffusion.sigma_min={self.sigma_min} must be below sigma_max={self.sigma_max}.")

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """ln sigma ~ N(p_mean, p_std^2) (EDM Table 1)."""
        return (normal(rng, count) * self.p_std + self.p_mean).exp()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """sigma_max down to sigma_min, evenly spaced in sigma^(1/rho) (EDM eq. 5); the final zero is not a level."""
        ramp = torch.linspace(0, 1, count, dtype=torch.float64)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((high + ramp * (low - high)) ** self.rho).float()

    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """``count`` levels of the generation schedule, upwards."""
        return self.generation_levels(count).flip(0)

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """-2 ln sigma."""
        return -2 * level.double().cpu().log()

    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """x + sigma n."""
        return x + per_item(level, x) * noise

    def denoise(
        self, network: Forward, x: Float[Tensor, "batch *shape"], sigma: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        """D(x; sigma) = c_skip x + c_out Net(c_in x, c_noise) (EDM eq. 7 and Table 1); c_noise is ln(sigma) / 4."""
        total = per_item(sigma**2 + self.sigma_data**2, x)
        s = per_item(sigma, x)
        out = network(x / total.sqrt(), sigma.log() / 4, given)
        return x * (self.sigma_data**2 / total) + out * (s * self.sigma_data / total.sqrt())

    def error(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given,
    ) -> Float[Tensor, "batch *shape"]:
        """D(x + sigma n) - x."""
        return at_least_float32(self.denoise(network, self.noised(x, level, noise), level, given)) - x

    def loss_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 (EDM eq. 2 and Table 1)."""
        return (level**2 + self.sigma_data**2) / (level * self.sigma_data) ** 2

    def in_noise(
        self, error: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """(x - D) / sigma."""
        return -error / per_item(level, error)

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """(sigma^2 + sigma_data^2) / sigma_data^2: eq. 2's weight times sigma^2."""
        return (level / self.sigma_data) ** 2 + 1

    def count_evaluations(self) -> int:
        """Two for each step but the last."""
        return 2 * self.steps - 1

    def count_steps(self) -> int:
        """As the setting says."""
        return self.steps

    def sample(
        self,
        network: nn.Module,
        rngs: list[np.random.Generator],
        shape: tuple[int, ...],
        given: Given = NOTHING,
        guidance: float | None = None,
        watch: Watch | None = None,
    ) -> Float[Tensor, "batch *shape"]:
        """Deterministic second-order Heun in ``steps`` steps of dx/dsigma = (x - D) / sigma (EDM algorithm 1)."""
        guided = Guided(network, guidance)
        sigmas = self.generation_levels(self.steps).tolist()

        def slope(x: Tensor, sigma: float) -> Tensor:
            return (x - self.denoise(guided, x, x.new_full((len(x),), sigma), given)) / sigma

        start = draw_noise(network, rngs, shape) * sigmas[0]
        return heun(slope, start, [*sigmas, 0.0], ends_straight(watch))
