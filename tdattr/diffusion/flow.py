"""Flow matching on straight paths (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, arXiv 2209.03003).

A level is t: x_t = (1 - t) x + t n, from the clean item at 0 to noise at 1.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import MAX_NOISE_WEIGHT, Diffusion, at_least_float32
from tdattr.diffusion.guidance import Guided
from tdattr.diffusion.samplers import Watch, draw_noise, ends_straight, euler, heun
from tdattr.networks import NOTHING, Forward, Given, per_item
from tdattr.ranges import Count, Positive
from tdattr.seeding import normal


@dataclass(frozen=True)
class Flow(Diffusion):
    """The ``diffusion=flow`` node."""

    code_version: ClassVar = 2  # the weight of an error of the noise is bounded
    sampling: ClassVar = ("sampler", "steps")  # what only generation reads

    name: str
    levels: Literal["uniform", "logit_normal"]
    logit_mean: float
    logit_std: Positive
    sampler: Literal["euler", "heun"]
    steps: Count

    def unread(self) -> dict[str, str]:
        """What logit-normal levels alone read."""
        names = () if self.levels == "logit_normal" else ("logit_mean", "logit_std")
        return dict.fromkeys(names, f"levels={self.levels}")

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """t uniform in (0, 1), or logit(t) ~ N(logit_mean, logit_std^2) (Esser et al. 2024, arXiv 2403.03206, §3.1)."""
        if self.levels == "uniform":
            return torch.from_numpy(rng.random(count)).float()
        return (normal(rng, count) * self.logit_std + self.logit_mean).sigmoid()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """t = 1, 1 - 1 / count, ..., 1 / count; the final zero is not a level."""
        return (1 - torch.arange(count, dtype=torch.float64) / count).float()

    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """t = 1 / (count + 1), 2 / (count + 1), ...: without the pure noise of t = 1."""
        return (torch.arange(1, count + 1, dtype=torch.float64) / (count + 1)).float()

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """2 ln((1 - t) / t)."""
        t = level.double().cpu()
        return 2 * (torch.log1p(-t) - t.log())

    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """(1 - t) x + t n."""
        t = per_item(level, x)
        return (1 - t) * x + t * noise

    def velocity(
        self, network: Forward, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        """The predicted velocity dx/dt; c_noise is 2 t - 1, of about the range of that of the other variants."""
        return network(x, 2 * level - 1, given)

    def error(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given,
    ) -> Float[Tensor, "batch *shape"]:
        """v(x_t, t) - (n - x) (Lipman et al. eq. 23 with sigma_min 0, time reversed)."""
        return at_least_float32(self.velocity(network, self.noised(x, level, noise), level, given)) - (noise - x)

    def in_noise(
        self, error: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """(1 - t) times it: the noise that v sees in x_t is x_t + (1 - t) v."""
        return (1 - per_item(level, error)) * error

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """1 / (1 - t)^2, at most ``MAX_NOISE_WEIGHT``: it has no mean where levels are uniform."""
        return ((1 - level) ** -2).clamp(max=MAX_NOISE_WEIGHT)

    def count_evaluations(self) -> int:
        """One for each step of Euler; two for each of Heun but the last."""
        return self.steps if self.sampler == "euler" else 2 * self.steps - 1

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
        """dx/dt = v(x, t) from t = 1 to 0 in ``steps`` equal steps of Euler or of second-order Heun."""
        guided = Guided(network, guidance)
        levels = self.generation_levels(self.steps).tolist()

        def slope(x: Tensor, t: float) -> Tensor:
            return self.velocity(guided, x, x.new_full((len(x),), t), given)

        start = draw_noise(network, rngs, shape)
        if self.sampler == "heun":
            return heun(slope, start, [*levels, 0.0], ends_straight(watch))
        lengths = [after - now for now, after in pairwise([*levels, 0.0])]
        return euler(slope, start, levels, lengths, ends_straight(watch))
