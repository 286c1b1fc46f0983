"""VP (Song et al. 2021, arXiv 2011.13456) as Karras et al. 2022 write it (arXiv 2206.00364, Table 1): level = sigma."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import Diffusion, at_least_float32
from tdattr.diffusion.guidance import Guided
from tdattr.diffusion.samplers import Watch, draw_noise, euler
from tdattr.networks import NOTHING, Forward, Given, per_item
from tdattr.ranges import Count, Part, Positive, Range


@dataclass(frozen=True)
class VP(Diffusion):
    """The ``diffusion=vp`` node; the published figures are in ``conf/diffusion/vp.yaml``.

    ``c_noise`` is what the network is told of the level. ``log_sigma``: ln(sigma) / 4, as under EDM, in [-1.73, 1.26]
    for the published figures, which is what the networks' Fourier features (periods from 1 up) resolve. ``timestep``:
    the c_noise of Table 1, (timesteps - 1) t in [0, 999], for a network that embeds timesteps.
    """

    sampling: ClassVar = ("epsilon_sampling", "steps")  # what only generation reads

    name: str
    beta_d: Positive
    beta_min: Positive
    timesteps: Annotated[int, Range(least=2)]
    c_noise: Literal["log_sigma", "timestep"]
    epsilon_training: Part
    epsilon_sampling: Part
    steps: Count

    def unread(self) -> dict[str, str]:
        """What a network that is told timesteps alone needs."""
        return {} if self.tells_timesteps else {"timesteps": f"c_noise={self.c_noise}"}

    @property
    def tells_timesteps(self) -> bool:
        """As ``c_noise`` says."""
        return self.c_noise == "timestep"

    def sigma(self, t: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """The noise level at time t in [0, 1]: sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1) (Table 1, "Schedule")."""
        return torch.expm1(self.beta_d * t**2 / 2 + self.beta_min * t).sqrt()

    def time(self, sigma: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """The inverse of ``sigma``, in the form that keeps its digits near t = 0."""
        log = torch.log1p(sigma**2)
        return 2 * log / (self.beta_min + (self.beta_min**2 + 2 * self.beta_d * log).sqrt())

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """sigma(t) with t uniform between ``epsilon_training`` and 1 (Table 1, "Noise distribution")."""
        return self.sigma(torch.from_numpy(rng.uniform(self.epsilon_training, 1, count))).float()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """sigma(t) at ``count`` times, evenly from 1 to ``epsilon_sampling``; the final zero is not a level."""
        return self.sigma(self.generation_times(count)).float()

    def generation_times(self, count: int) -> Float[Tensor, " count"]:
        """Those times, in double precision (Table 1, "Time steps")."""
        return torch.linspace(1, self.epsilon_sampling, count, dtype=torch.float64)

    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """``count`` levels of the generation schedule, upwards."""
        return self.generation_levels(count).flip(0)

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """-2 ln sigma."""
        return -2 * level.double().cpu().log()

    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """x + sigma n, scaled to variance one by c_in = 1 / sqrt(sigma^2 + 1)."""
        sigma = per_item(level, x)
        return (x + sigma * noise) / (sigma**2 + 1).sqrt()

    def noise_prediction(
        self, network: Forward, x: Float[Tensor, "batch *shape"], sigma: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        """Net(x, c_noise), where ``x`` is already scaled to variance one.

        As c_skip is 1 and c_out -sigma, the denoiser is D = x / c_in - sigma Net: the network predicts the noise.
        """
        c_noise = sigma.log() / 4 if self.c_noise == "log_sigma" else (self.timesteps - 1) * self.time(sigma)
        return network(x, c_noise, given)

    def error(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given,
    ) -> Float[Tensor, "batch *shape"]:
        """Net - n.

        The loss of Karras et al., eq. 2 and Table 1, is 1 / sigma^2 * mean of (D(x + sigma n) - x)^2. As
        D - x = sigma (n - Net), it is the mean of (n - Net)^2, which loses no digits at small sigma.
        """
        return at_least_float32(self.noise_prediction(network, self.noised(x, level, noise), level, given)) - noise

    def count_evaluations(self) -> int:
        """One for each step."""
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
        """Euler in t, ``steps`` steps of which the last ends at t = 0, on the items scaled to variance one.

        MUCS's code stops a step earlier, at ``epsilon_sampling``, where some noise is left.
        """
        times = self.generation_times(self.steps).tolist()
        sigma = float(self.sigma(self.generation_times(1)))
        start = draw_noise(network, rngs, shape) * (sigma / math.hypot(sigma, 1))
        return self.integrate(Guided(network, guidance), start, [*times, 0.0], given, watch)

    def integrate(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        times: Sequence[float],
        given: Given = NOTHING,
        watch: Watch | None = None,
    ) -> Float[Tensor, "batch *shape"]:
        """By Euler from the first of ``times`` to the last, down from 1; ``x`` is scaled to variance one.

        The ODE is Karras et al. eq. 4 with the VP schedule and scaling s = 1 / sqrt(sigma^2 + 1) of Table 1, where
        the denoiser's x cancels: dx/dt = beta(t) / 2 * (Net / (sigma s) - x) with beta(t) = beta_d t + beta_min. The
        variable of integration is that of beta(t) / 2 dt.
        """
        sigmas = self.sigma(torch.tensor(times[:-1], dtype=torch.float64)).tolist()
        lengths = [(after - now) * (self.beta_d * now + self.beta_min) / 2 for now, after in pairwise(times)]

        def slope(x: Tensor, sigma: float) -> Tensor:
            predicted = self.noise_prediction(network, x, x.new_full((len(x),), sigma), given)
            return predicted * (math.hypot(sigma, 1) / sigma) - x

        def told(x: Tensor, sigma: float, change: Tensor) -> None:  # D = (x - sigma^2 dx) / s, as Net is in the slope
            assert watch is not None
            watch(sigma, (x - sigma**2 * change) / math.hypot(sigma, 1))

        return euler(slope, x, sigmas, lengths, None if watch is None else told)
