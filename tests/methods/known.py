"""Networks that see the noise in a query exactly but for an offset, so that every KL term can be written down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tdattr.counterfactuals import Trained
from tdattr.diffusion.ddpm import DDPM
from tdattr.ids import Ids
from tdattr.networks import NOTHING, Given, Network, per_item
from tdattr.scoring.elbo import ElboConfig
from tdattr.seeding import generator, normal
from tdattr.unlearning.group import GroupUnlearnConfig
from tdattr.unlearning.objectives import Objective, UnlearnContext
from tests.diffusion.fakes import variant

QUERIES, VALUES = 4, 64  # 8 x 8 gray images
IMAGES = torch.tanh(normal(generator(0, "test.known"), QUERIES, 1, 8, 8))
BETAS = np.linspace(0.02, 0.3, 12)
DIFFUSION: DDPM = variant("ddpm", timesteps=12, beta_start=0.02, beta_end=0.3, steps=3)
ELBO = ElboConfig(t_min=2, t_max=None, stride=3, timesteps=99, draws=2, importance=None)
PLACES = [2, 5, 8]  # the last is below 12 - 3


class Known(Network):
    """A linear network that is told of a query by its number, one-hot: it takes the query out of what it sees, scales
    what is left to unit variance, and adds the query's offset."""

    parts: ClassVar = {"all": ("*",)}
    conditional = True
    knows_augmentation = False

    def __init__(self, offsets: Tensor) -> None:
        super().__init__()
        self.offsets = nn.Parameter(offsets.float().clone(), requires_grad=False)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        sigma = per_item((4 * c_noise).exp(), x)  # of noise to signal
        query = (given.condition @ IMAGES.flatten(1)).view(-1, 1, 8, 8)
        noise = (x * (1 + sigma**2).sqrt() - query) / sigma
        return noise + per_item(given.condition @ self.offsets, x)


def total(offsets: Tensor) -> Tensor:
    """The sum of the KL terms of every query: (SNR(t-1) / SNR(t) - 1) / 2 times the squared distance of the noises."""
    kept = np.cumprod(1 - BETAS)
    snr = kept / (1 - kept)
    factor = float(sum((snr[t - 1] / snr[t] - 1) / 2 for t in PLACES))
    return factor * VALUES * offsets.double().square()


@dataclass
class Models:
    """Trained networks that note when they are loaded."""

    loaded: list[str] = field(default_factory=list)

    def make(self, name: str, offsets: Tensor) -> Trained:
        def load() -> Network:
            self.loaded.append(name)
            return Known(offsets)

        return Trained(name, load)


@dataclass
class Unlearning:
    """Stands for ``unlearn_group``: it sets the offsets to what ``after(ids)`` says, at a part of the way to a part of
    that, and notes what it was given."""

    after: Callable[[Ids], Tensor]
    retained: list[float] = field(default_factory=list)  # the loss of the log
    calls: list[tuple[Objective, UnlearnContext]] = field(default_factory=list)

    def __call__(
        self,
        network: nn.Module,
        objective: Objective,
        context: UnlearnContext,
        config: GroupUnlearnConfig,
        train: object,
        trainer: object,
        keep: Callable[[int], None],
        folder: object,
        label: str,
        curve: object,
    ) -> list[dict[str, float]]:
        self.calls.append((objective, context))
        assert isinstance(network, Known)
        for point in config.points:
            network.offsets.data = self.after(context.forgotten).float() * (point / config.length)
            keep(point)
        return [{"step": float(step), "retain": loss} for step, loss in enumerate(self.retained)] or [{"step": 0.0}]
