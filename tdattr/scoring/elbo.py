"""Evidence lower bounds of images under a diffusion model, term by term: what GUDA scores by."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.report.progress import track
from tdattr.seeding import generator, normal


@dataclass(frozen=True)
class ElboConfig:
    """The ``elbo`` node: the terms t = ``t_min``, ``t_min`` + ``stride``, … up to ``t_max`` (None: the last but
    ``stride``) of a process of ``steps`` levels, or of a discrete variant's own; ``draws`` noise images for each.
    ``importance``: so many of these terms, drawn in proportion to their size under F1; None: all."""

    t_min: int
    t_max: int | None
    stride: int
    steps: int
    draws: int
    importance: int | None

    def __post_init__(self) -> None:
        if min(self.t_min, self.stride, self.draws) < 1 or self.steps < 2:
            raise UserError("The elbo node needs t_min, stride and draws of at least 1, and steps of at least 2.")
        if self.importance is not None and self.importance < 1:
            raise UserError(f"elbo.importance={self.importance} must be at least 1 term, or null: all.")

    def terms(self, diffusion: Diffusion) -> Int[Tensor, " term"]:
        """The indices of the levels that are visited. Raises UserError where there are none."""
        total = len(diffusion.discrete_levels(self.steps))
        last = total - self.stride if self.t_max is None else self.t_max
        if last >= total:
            raise UserError(f"elbo.t_max={last} is beyond the last of {total} levels, {total - 1}.")
        places = torch.tensor(range(self.t_min, last + 1, self.stride))
        if not len(places):
            raise UserError(
                f"The elbo node visits no term: t_min={self.t_min}, t_max={last} and stride={self.stride} of {total} "
                "levels."
            )
        if self.importance is not None and self.importance >= len(places):
            raise UserError(
                f"elbo.importance={self.importance} is no saving over all {len(places)} terms: give fewer, or null."
            )
        return places


def drawn(
    sizes: Float[Tensor, " term"], count: int, rng: np.random.Generator
) -> tuple[Int[Tensor, " drawn"], Float[Tensor, " drawn"]]:
    """Terms drawn in proportion to ``sizes`` (> 0), and the weights with which they sum to the whole on average.

    Systematic sampling: ``count`` evenly spaced points from one random start, so that large terms are never missed. A
    term that is met n times is visited once, with the weight n / (count · its share).
    """
    shares = sizes / sizes.sum()
    points = (torch.arange(count, dtype=torch.float64) + rng.random()) / count
    met = torch.searchsorted(shares.cumsum(0), points).clamp(max=len(sizes) - 1)
    places, times = met.unique(return_counts=True)
    return places, times / (count * shares[places])


def elbo_terms(
    diffusion: Diffusion,
    network: nn.Module,
    images: Float[Tensor, "image channel height width"],
    conditions: Float[Tensor, "image condition"] | None,
    config: ElboConfig,
    places: Int[Tensor, " term"],
    seed: int,
    batch_size: int,
    device: torch.device,
    description: str,
) -> Float[Tensor, "image term"]:
    """KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)) in nats, summed over pixels, for each image and level; float64.

    Both Gaussians have the posterior's variance, so that the KL is (SNR(t-1) / SNR(t) - 1) / 2 times the squared
    distance of predicted and true noise (Kingma et al. 2021, arXiv 2107.00630, eq. 13; for DDPM, Ho et al. 2020,
    eq. 8). The noise of an image and term is the same for every network; the predicted clean image is not clipped.
    """
    every = diffusion.discrete_levels(config.steps)
    snr = diffusion.log_snr(every)
    factors = torch.expm1(snr[places - 1] - snr[places]) / 2
    levels = every[places]
    found = torch.zeros(len(images), len(places), dtype=torch.float64)
    cells = [(i, t, d) for i in range(len(images)) for t in range(len(places)) for d in range(config.draws)]
    for start in track(range(0, len(cells), batch_size), description, -(-len(cells) // batch_size), nested=True):
        part = cells[start : start + batch_size]
        which = torch.tensor([image for image, _, _ in part])
        when = torch.tensor([term for _, term, _ in part])
        noise = torch.stack(
            [
                normal(generator(seed, "elbo", image, int(places[term]), draw), *images.shape[1:])
                for image, term, draw in part
            ]
        ).to(device)
        with torch.inference_mode():
            residual = diffusion.residual(
                network,
                images[which].to(device),
                levels[when].to(device),
                noise,
                Given(None if conditions is None else conditions[which]).to(device),
            )
        distance = residual.cpu().double().square().flatten(1).sum(1)
        found.index_put_((which, when), factors[when] * distance / config.draws, accumulate=True)
    return found
