"""DDPM (Ho et al. 2020): discrete levels t; sampled by DDIM, ancestrally or by DPM-Solver++."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import MAX_NOISE_WEIGHT, Diffusion, at_least_float32
from tdattr.diffusion.dpm_solver import dpm_solver
from tdattr.diffusion.guidance import Guided
from tdattr.diffusion.samplers import Watch, ancestral, ddim, draw_noise
from tdattr.errors import UserError
from tdattr.networks import NOTHING, Forward, Given, per_item
from tdattr.ranges import Count, CountOrZero, Part, Positive
from tdattr.schedules import AlphaBarSchedule, alpha_bar, leading, rescale


@dataclass(frozen=True)
class DDPM(Diffusion):
    """The ``diffusion=ddpm`` node.

    A level is t as a float, 0 (almost clean) to ``timesteps - 1`` (noise). ``prediction``: of the network, the noise
    n (``epsilon``) or the velocity sqrt(alpha_bar) n - sqrt(1 - alpha_bar) x (``v_prediction``; Salimans & Ho 2022,
    arXiv 2202.00512, app. D). ``zero_terminal_snr``: nothing is left of an item at the last t (Lin et al. 2023, arXiv
    2305.08891, alg. 1). ``c_noise``: what the network is told of a level. ``log_sigma``: ln(sigma) / 4 with sigma the
    ratio of noise to signal, as under EDM. ``timestep``: t itself.

    ``steps`` is for DDIM and DPM-Solver++: the ancestral sampler visits every t. ``clip``: DDIM and the ancestral
    sampler keep the clean items that they predict in [-clip, clip]; None: as they are. ``variance``: of the noise that
    the ancestral sampler adds (Ho et al. 2020, §3.2). For DDIM alone: ``spacing``, by which the timesteps of a
    generation are the first of equal parts (``leading``: 980, 960, …, 0, and ``offset`` more), the last of them
    (``trailing``: 999, 979, …, 19), or lie evenly from the last to the first (``linspace``: 999, …, 0);
    ``ddim_noise``: it goes on with the noise that was ``predicted``, or with that ``recomputed`` from the predicted
    clean item once it is clipped; ``end``: the last step goes to the ``clean`` item, or to the ``first`` level.
    """

    sampling: ClassVar = ("sampler", "steps", "spacing", "offset", "ddim_noise", "end", "clip", "variance")

    name: str
    timesteps: Count
    schedule: AlphaBarSchedule
    beta_start: Part
    beta_end: Part
    prediction: Literal["epsilon", "v_prediction"]
    zero_terminal_snr: bool
    sampler: Literal["ddim", "ancestral", "dpm_solver"]
    steps: Count
    spacing: Literal["leading", "linspace", "trailing"]
    offset: CountOrZero
    ddim_noise: Literal["predicted", "recomputed"]
    end: Literal["clean", "first"]
    clip: Positive | None
    variance: Literal["small", "large"]
    c_noise: Literal["log_sigma", "timestep"]

    def __post_init__(self) -> None:
        if "steps" not in self.unread() and self.steps > self.timesteps:
            raise UserError(f"diffusion.steps={self.steps} must be at most timesteps={self.timesteps}.")
        if self.sampler == "dpm_solver" and self.steps == self.timesteps:
            raise UserError(
                f"diffusion.steps={self.steps} must be below timesteps={self.timesteps} with sampler=dpm_solver, which "
                "leaves out t = 0."
            )
        if self.beta_start > self.beta_end:
            raise UserError(f"diffusion.beta_start={self.beta_start} must be at most beta_end={self.beta_end}.")
        if self.zero_terminal_snr and (self.prediction == "epsilon" or self.c_noise == "log_sigma"):
            raise UserError(
                "diffusion.zero_terminal_snr=true needs diffusion.prediction=v_prediction, as the noise in pure noise "
                "says nothing of an item, and a network that is told timesteps."
            )
        if "offset" not in self.unread():
            room = self.timesteps - 1 - int(leading(self.timesteps, self.steps)[-1])
            if self.offset > room:
                raise UserError(
                    f"diffusion.offset={self.offset} must lie between 0 and {room}, so that the first of "
                    f"diffusion.steps={self.steps} is below timesteps={self.timesteps}."
                )
        _ = self.tables  # not when a loss is first asked for, as tensors that torch.func makes end with it

    def unread(self) -> dict[str, str]:
        """What the other samplers read, and the betas of a schedule that has its own."""
        of_sampler = {
            "ddim": ("variance",),
            "ancestral": ("steps", "offset", "ddim_noise", "end"),  # methods score at levels with its spacing
            "dpm_solver": ("spacing", "offset", "ddim_noise", "end", "clip", "variance"),
        }[self.sampler]
        betas = ("beta_start", "beta_end") if self.schedule == "cosine" else ()
        spaced = ("offset",) if self.sampler == "ddim" and self.spacing != "leading" else ()
        return {
            **dict.fromkeys(of_sampler, f"sampler={self.sampler}"),
            **dict.fromkeys(betas, f"schedule={self.schedule}"),
            **dict.fromkeys(spaced, f"spacing={self.spacing}"),
        }

    @property
    def tells_timesteps(self) -> bool:
        """As ``c_noise`` says."""
        return self.c_noise == "timestep"

    @property
    def clips(self) -> bool:
        """As ``clip`` says, where the sampler reads it."""
        return self.clip is not None and "clip" not in self.unread()

    @cached_property
    def alpha_bar(self) -> Float[Tensor, " timesteps"]:
        """The cumulative product of 1 - beta, in double precision."""
        kept = alpha_bar(self.timesteps, self.schedule, self.beta_start, self.beta_end)
        return rescale(kept) if self.zero_terminal_snr else kept

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """t uniform over all timesteps."""
        return torch.from_numpy(rng.integers(self.timesteps, size=count)).float()

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """``count`` timesteps, most noise first, evenly spaced as ``spacing`` says and whole; for DPM-Solver++ evenly
        from the last one without the first, and for the ancestral sampler without an ``offset``."""
        if self.sampler == "dpm_solver":
            return torch.linspace(self.timesteps - 1, 0, count + 1, dtype=torch.float64)[:-1].round().float()
        if self.spacing == "leading":
            levels = leading(self.timesteps, count).flip(0)
            room = self.timesteps - 1 - int(levels[0])  # none where a method asks for all timesteps
            return (levels + (min(self.offset, room) if self.sampler == "ddim" else 0)).float()
        if self.spacing == "trailing":
            parts = torch.arange(count, dtype=torch.float64) * (self.timesteps / count)
            return ((self.timesteps - parts).round() - 1).float()
        return torch.linspace(self.timesteps - 1, 0, count, dtype=torch.float64).round().float()

    def discrete_levels(self, count: int) -> Float[Tensor, " level"]:
        """All timesteps; ``count`` is for the continuous variants."""
        return torch.arange(self.timesteps).float()

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """ln of alpha_bar / (1 - alpha_bar)."""
        kept = self.alpha_bar[level.long().cpu()]
        return kept.log() - (1 - kept).log()

    @cached_property
    def tables(self) -> tuple[Float[Tensor, " timesteps"], Float[Tensor, " timesteps"]]:
        """How much of an item and of the noise is in a noised one: the roots of alpha_bar and of 1 - alpha_bar, which
        is subtracted in double precision, as it may be small."""
        return self.alpha_bar.sqrt().float(), (1 - self.alpha_bar).sqrt().float()

    def parts(
        self, level: Float[Tensor, " batch"], like: Float[Tensor, "batch *shape"]
    ) -> tuple[Float[Tensor, "batch *ones"], Float[Tensor, "batch *ones"]]:
        """Those of ``tables`` at each level, shaped so that they broadcast over the items of ``like``."""
        signal, spread = (per_item(table.to(level.device)[level.long()], like) for table in self.tables)
        return signal, spread

    def noised(
        self, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """sqrt(alpha_bar) x + sqrt(1 - alpha_bar) n."""
        signal, spread = self.parts(level, x)
        return signal * x + spread * noise

    def output(
        self, network: Forward, x: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"], given: Given
    ) -> Float[Tensor, "batch *shape"]:
        """What the network predicts of noised items."""
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
        """eps_theta(sqrt(abar) x + sqrt(1 - abar) eps, t) - eps (Ho et al. 2020, eq. 14), or v_theta(…) - v."""
        target = noise
        if self.prediction == "v_prediction":
            signal, spread = self.parts(level, x)
            target = signal * noise - spread * x
        return at_least_float32(self.output(network, self.noised(x, level, noise), level, given)) - target

    def in_noise(
        self, error: Float[Tensor, "batch *shape"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """Of a velocity sqrt(alpha_bar) times it: the noise that v sees in x is sqrt(1 - abar) x + sqrt(abar) v."""
        return error if self.prediction == "epsilon" else self.parts(level, error)[0] * error

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """1; of a velocity 1 / alpha_bar, at most ``MAX_NOISE_WEIGHT``."""
        if self.prediction == "epsilon":
            return torch.ones_like(level)
        weights = (1 / self.alpha_bar).clamp(max=MAX_NOISE_WEIGHT).float()
        return weights.to(level.device)[level.long()]

    def count_evaluations(self) -> int:
        """One for each step; the ancestral sampler takes all timesteps."""
        return self.timesteps if self.sampler == "ancestral" else self.steps

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

        With ``clip`` and ``end=clean`` what DDIM and the ancestral sampler return lies within it, as in the reference
        code of either, which runs on pixels. DPM-Solver++ clips nothing.
        """
        guided = Guided(network, guidance)
        count = self.timesteps if self.sampler == "ancestral" else self.steps
        visited = self.generation_levels(count).long().tolist()
        start, kept = draw_noise(network, rngs, shape), self.alpha_bar.tolist()

        def predict(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            output = self.output(guided, x, x.new_full((len(x),), t), given)
            signal, spread = math.sqrt(kept[t]), math.sqrt(1 - kept[t])
            if self.prediction == "epsilon":
                return (x - spread * output) / signal, output
            return signal * x - spread * output, signal * output + spread * x

        if self.sampler == "ddim":
            last, recompute = 1.0 if self.end == "clean" else kept[0], self.ddim_noise == "recomputed"
            return ddim(predict, start, visited, kept, last, self.clip, recompute, watch)
        if self.sampler == "dpm_solver":
            return dpm_solver(predict, start, visited, kept, watch)
        large = self.variance == "large"
        return ancestral(
            predict, start, visited, kept, self.clip, large, lambda: draw_noise(network, rngs, shape), watch
        )
