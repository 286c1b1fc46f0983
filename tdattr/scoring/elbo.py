"""Evidence lower bounds of images under a diffusion model, term by term: what GUDA scores by."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.ranges import Count, Range
from tdattr.scoring.cells import Items, LossModel
from tdattr.scoring.pairs import Levels, Noise, Pairs
from tdattr.seeding import generator, normal


@dataclass(frozen=True)
class ElboConfig:
    """The ``elbo`` node: the terms t = ``t_min``, ``t_min`` + ``stride``, … up to ``t_max`` (None: the last but
    ``stride``) of a process of so many ``timesteps``, or of a discrete variant's own; ``draws`` noise images for each.
    ``importance``: the number of these terms to draw, in proportion to their size under F1; None: all."""

    t_min: Count
    t_max: Count | None
    stride: Count
    timesteps: Annotated[int, Range(least=2)]
    draws: Count
    importance: Count | None

    def terms(self, diffusion: Diffusion) -> Int[Tensor, " term"]:
        """The indices of the discrete levels that are visited. Raises UserError where there are none."""
        levels = diffusion.discrete_levels(self.timesteps)
        total = len(levels)
        last = total - self.stride if self.t_max is None else self.t_max
        if last >= total:
            raise UserError(f"elbo.t_max={last} is beyond the last of {total} levels, {total - 1}.")
        terms = torch.tensor(range(self.t_min, last + 1, self.stride))
        if not len(terms):
            raise UserError(
                f"The elbo node visits no term: t_min={self.t_min}, t_max={last} and stride={self.stride} of {total} "
                "levels."
            )
        if not diffusion.log_snr(levels)[terms].isfinite().all():
            raise UserError(f"elbo.t_max={last} visits a level at which nothing is left of an item: lower it.")
        if self.importance is not None and self.importance >= len(terms):
            raise UserError(
                f"elbo.importance={self.importance} is no saving over all {len(terms)} terms: give fewer, or null."
            )
        return terms


def draw_terms(
    sizes: Float[Tensor, " term"], count: int, rng: np.random.Generator
) -> tuple[Int[Tensor, " drawn"], Float[Tensor, " drawn"]]:
    """Terms drawn in proportion to ``sizes`` (> 0), and the weights with which they sum to the whole on average.

    Systematic sampling: ``count`` evenly spaced points from one random start, so that large terms are never missed. A
    term that is hit n times is visited once, with the weight n / (count · its share).
    """
    shares = sizes / sizes.sum()
    points = (torch.arange(count, dtype=torch.float64) + rng.random()) / count
    hits = torch.searchsorted(shares.cumsum(0), points).clamp(max=len(sizes) - 1)
    drawn, times = hits.unique(return_counts=True)
    return drawn, times / (count * shares[drawn])


@dataclass(frozen=True)
class ElboNoise(Pairs):
    """``draws`` noise images at each level, one after the other: those of an item and term are the same for every
    network. ``terms``: the index of each level in the discrete process."""

    levels: Float[Tensor, " term"]
    terms: Int[Tensor, " term"]
    draws: int
    seed: int
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.levels) * self.draws

    def take(self, ids: Int[np.ndarray, " cell"], pairs: Int[np.ndarray, " cell"]) -> tuple[Levels, Noise]:
        """Drawn anew for each cell."""
        columns, draws = np.divmod(pairs, self.draws)
        noise = [
            normal(generator(self.seed, "elbo", int(item), int(self.terms[term]), int(draw)), *self.shape)
            for item, term, draw in zip(ids, columns, draws, strict=True)
        ]
        return self.levels[torch.from_numpy(columns)], torch.stack(noise)


def kl_weights(
    diffusion: Diffusion, levels: Float[Tensor, " level"], terms: Int[Tensor, " term"]
) -> Float[Tensor, " term"]:
    """What the squared distance of predicted and true noise is multiplied by in each of ``terms``; float64.

    ``levels``: all of the discrete process, least noise first. (SNR(t-1) / SNR(t) - 1) / 2 (Kingma et al. 2021, arXiv
    2107.00630, eq. 13); for DDPM beta_t / (2 (1 - beta_t) (1 - alpha_bar_{t-1})).
    """
    snr = diffusion.log_snr(levels)
    return torch.expm1(snr[terms - 1] - snr[terms]) / 2


def noise_distance(
    diffusion: Diffusion, network: nn.Module, x: Tensor, level: Tensor, noise: Tensor, given: Given
) -> Float[Tensor, " cell"]:
    """The squared distance of predicted and true noise, summed over x; float64."""
    residual = diffusion.residual(network, x, level, noise, given)
    if residual.device.type == "mps":  # has no float64
        residual = residual.cpu()
    return residual.double().square().flatten(1).sum(1)


def elbo_terms(
    diffusion: Diffusion,
    network: nn.Module,
    items: Items,
    config: ElboConfig,
    terms: Int[Tensor, " term"],
    seed: int,
    batch_size: int,
    device: torch.device,
    description: str,
) -> Float[Tensor, "item term"]:
    """KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)) in nats, summed over x, for each item and each of ``terms``, indices
    of the discrete process; float64.

    Both Gaussians have the posterior's variance, so that the KL is the squared distance of predicted and true noise
    times ``kl_weights`` (for DDPM, Ho et al. 2020, eq. 8). The noise of an item and term is the same for every network;
    the predicted clean image is not clipped.
    """
    levels = diffusion.discrete_levels(config.timesteps)
    x, _ = items.take(np.arange(1))
    pairs = ElboNoise(levels[terms], terms, config.draws, seed, tuple(x.shape[1:]))
    model = LossModel(diffusion, network, device, batch_size, noise_distance)
    distances = model.table(items, pairs, description=description).view(len(items), len(terms), config.draws)
    return kl_weights(diffusion, levels, terms) * distances.mean(2)
