"""DDPM (Ho et al. 2020): discrete levels t, noise prediction; sampled by DDIM, ancestrally or by DPM-Solver++."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.diffusion.dpm_solver import dpm_solver
from tdattr.diffusion.guidance import Guided
from tdattr.diffusion.samplers import Watch, ancestral, ddim, draw_noise
from tdattr.errors import UserError
from tdattr.networks import NOTHING, Forward, Given, per_item
from tdattr.schedules import AlphaBarSchedule, alpha_bar, leading


@dataclass(frozen=True)
class DDPM(Diffusion):
    """The ``diffusion=ddpm`` node.

    A level is t as a float, 0 (almost clean) to ``timesteps - 1`` (noise). ``steps`` is for DDIM and DPM-Solver++: the
    ancestral sampler visits every t. ``spacing`` and ``ddim_noise`` are for DDIM alone. ``spacing``: the timesteps of a
    generation are the first of equal parts (``leading``: 980, 960, …, 0), or lie evenly from the last to the first
    (``linspace``: 999, …, 0). ``ddim_noise``: DDIM goes on with the noise that was ``predicted``, or with that
    ``recomputed`` from the predicted clean item once it is clipped. ``c_noise``: what the network is told of a level.
    ``log_sigma``: ln(sigma) / 4 with sigma the ratio of noise to signal, as under EDM. ``timestep``: t itself.
    """

    sampling: ClassVar = ("sampler", "steps", "spacing", "ddim_noise")  # what only generation reads

    name: str
    timesteps: int
    schedule: AlphaBarSchedule
    beta_start: float
    beta_end: float
    sampler: Literal["ddim", "ancestral", "dpm_solver"]
    steps: int
    spacing: Literal["leading", "linspace"]
    ddim_noise: Literal["predicted", "recomputed"]
    c_noise: Literal["log_sigma", "timestep"]

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.timesteps:
            raise UserError(f"diffusion.steps={self.steps} must lie between 1 and timesteps={self.timesteps}.")
        if self.sampler == "dpm_solver" and self.steps == self.timesteps:
            raise UserError(
                f"diffusion.steps={self.steps} must be below timesteps={self.timesteps} with sampler=dpm_solver, which "
                "leaves out t = 0."
            )
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError("diffusion.beta_start and beta_end must satisfy 0 < beta_start <= beta_end < 1.")

    @property
    def tells_timesteps(self) -> bool:
        """As ``c_noise`` says."""
        return self.c_noise == "timestep"

    @cached_property
    def alpha_bar(self) -> Float[Tensor, " timesteps"]:
        """The cumulative product of 1 - beta, in double precision."""
        return alpha_bar(self.timesteps, self.schedule, self.beta_start, self.beta_end)

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """t uniform over all timesteps."""
        return torch.from_numpy(rng.integers(self.timesteps, size=count)).float()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """``count`` timesteps, most noise first, evenly spaced as ``spacing`` says and whole; for DPM-Solver++ evenly
        from the last one without the first."""
        if self.sampler == "dpm_solver":
            return torch.linspace(self.timesteps - 1, 0, count + 1, dtype=torch.float64)[:-1].round().float()
        if self.spacing == "leading":
            return leading(self.timesteps, count).flip(0).float()
        return torch.linspace(self.timesteps - 1, 0, count, dtype=torch.float64).round().float()

    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """All timesteps; ``count`` is for the continuous variants."""
        return torch.arange(self.timesteps).float()

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """ln of alpha_bar / (1 - alpha_bar)."""
        kept = self.alpha_bar[level.long().cpu()]
        return kept.log() - (1 - kept).log()

    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """sqrt(alpha_bar) x + sqrt(1 - alpha_bar) n."""
        kept = per_item(self.alpha_bar.float().to(level.device)[level.long()], x)
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def noise_prediction(
        self, network: Forward, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        """The noise that the network sees in noised items."""
        if self.c_noise == "timestep":
            return network(x, level, given)
        table = (((1 - self.alpha_bar) / self.alpha_bar).log() / 8).float()  # float32: some devices have no double
        return network(x, table.to(level.device)[level.long()], given)

    def error(
        self,
        network: Forward,
        x: Float[Tensor, "batch *shape"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch *shape"],
        given: Given,
    ) -> Float[Tensor, "batch *shape"]:
        """eps_theta(sqrt(abar) x + sqrt(1 - abar) eps, t) - eps (Ho et al. 2020, eq. 14)."""
        return self.noise_prediction(network, self.noised(x, level, noise), level, given).float() - noise

    def sample(
        self,
        network: nn.Module,
        rngs: list[np.random.Generator],
        shape: tuple[int, ...],
        given: Given = NOTHING,
        guidance: float | None = None,
        watch: Watch | None = None,
    ) -> Float[Tensor, "batch *shape"]:
        """By DDIM or DPM-Solver++ in ``steps`` steps, or ancestrally through all timesteps.

        DDIM and the ancestral sampler clip the clean items that they predict to [-1, 1], as the reference code of
        either does, which runs on pixels; so what they return lies there. DPM-Solver++ clips nothing.
        """
        guided = Guided(network, guidance)
        count = self.timesteps if self.sampler == "ancestral" else self.steps
        visited = self.generation_levels(count).long().tolist()

        def predict(x: Tensor, t: int) -> Tensor:
            return self.noise_prediction(guided, x, x.new_full((len(x),), t), given)

        start, alpha_bar = draw_noise(network, rngs, shape), self.alpha_bar.tolist()
        if self.sampler == "ddim":
            return ddim(predict, start, visited, alpha_bar, self.ddim_noise == "recomputed", watch)
        if self.sampler == "dpm_solver":
            return dpm_solver(predict, start, visited, alpha_bar, watch)
        return ancestral(predict, start, visited, alpha_bar, lambda: draw_noise(network, rngs, shape), watch)
