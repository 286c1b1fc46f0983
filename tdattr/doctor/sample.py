"""The items and the noise at which everything is compared: the same for all networks and all that is done to items."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.ids import Ids
from tdattr.networks import Given
from tdattr.pipeline.workspace import Workspace
from tdattr.scoring.cells import Items, LossModel, TrainingItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator, normal
from tdattr.training.config import ScoringPrecision

DRAWN = 4096  # levels of a training by which its range of noise is told
Errors = Float[np.ndarray, "item level"]
OtherErrors = Float[np.ndarray, "other level"]
Change = Callable[[Float[Tensor, "item *x"], Int[np.ndarray, " item"]], Float[Tensor, "item *x"]]


def missed_noise(
    diffusion: Diffusion, network: nn.Module, x: Tensor, level: Tensor, noise: Tensor, given: Given
) -> Float[Tensor, " cell"]:
    """The mean squared difference between predicted and true noise: 1 for a network that sees none, whatever the
    variant."""
    return diffusion.residual(network, x, level, noise, given).square().flatten(1).mean(1).float()


@dataclass(frozen=True)
class Changed(Items):
    """Items whose x, or whose condition, is another one. ``order``: of each item the one whose condition it gets."""

    items: Items
    change: Change | None = None
    order: Int[np.ndarray, " item"] | None = None

    @property
    def ids(self) -> Int[np.ndarray, " item"]:
        """Those of the items."""
        return self.items.ids

    def take(self, indices: Int[np.ndarray, " _index"]) -> tuple[Float[Tensor, "item *x"], Given]:
        """Those at these indices, changed."""
        x, given = self.items.take(indices)
        if self.order is not None:
            given = replace(given, condition=self.items.take(self.order[indices])[1].condition)
        return x if self.change is None else self.change(x, indices), given


@dataclass(frozen=True)
class Sample:
    """Some training items and some held-out ones at ``draws`` noise images for each level, least noise first."""

    ws: Workspace
    items: TrainingItems
    held_out: TrainingItems
    levels: Float[Tensor, " level"]
    draws: int

    @cached_property
    def noise(self) -> NoiseSet:
        """Every level with its noise images."""
        rng = generator(self.ws.seed, "doctor.noise")
        return NoiseSet(
            self.levels.repeat_interleave(self.draws), normal(rng, len(self.levels) * self.draws, *self.ws.x_shape)
        )

    @cached_property
    def x(self) -> Float[Tensor, "item *x"]:
        """Of the training items."""
        return self.items.take(np.arange(len(self.items)))[0]

    def model(self, network: nn.Module, batch: int | None = None, precision: ScoringPrecision = "float32") -> LossModel:
        """What computes the noise that a network misses."""
        ws = self.ws
        return LossModel(ws.diffusion, network, ws.device, batch or ws.trainer.scoring_batch, missed_noise, precision)

    def errors(self, network: nn.Module, items: Items, description: str) -> Errors:
        """The share of the noise that a network misses in each item, the mean over the draws of each level."""
        table = self.model(network).table(items, self.noise, description=description)
        return table.view(len(items), len(self.levels), self.draws).mean(2).double().numpy()

    def guess(self, x: Float[Tensor, "item *x"]) -> Float[np.ndarray, " level"]:
        """What is missed by the best guess of who knows the mean and the variance of the values of ``x`` alone: v s /
        (1 + v s), with the variance v and the ratio s of signal to noise."""
        centred = x - x.mean(dim=(0, *range(2, x.ndim)), keepdim=True)
        power = float(centred.double().square().mean()) * self.ws.diffusion.log_snr(self.levels).exp().numpy()
        return np.asarray(power / (1 + power))


def draw_sample(ws: Workspace, items: int, levels: int, draws: int) -> Sample:
    """So many training items, and as many of those that are held out."""
    split, others = ws.held_out

    def choose(ids: Ids, purpose: str) -> Ids:
        return np.sort(generator(ws.seed, purpose).choice(ids, min(items, len(ids)), replace=False))

    return Sample(
        ws,
        TrainingItems(ws.data.train, choose(ws.ids, "doctor.items")),
        TrainingItems(split, choose(others, "doctor.held_out")),
        choose_levels(ws, levels),
        draws,
    )


def choose_levels(ws: Workspace, count: int) -> Float[Tensor, " level"]:
    """Levels that stand for equal shares of a training, least noise first."""
    drawn = ws.diffusion.training_levels(generator(ws.seed, "doctor.levels"), DRAWN)
    ordered = drawn[ws.diffusion.log_snr(drawn).argsort(descending=True)]
    return ordered[torch.tensor([(2 * index + 1) * DRAWN // (2 * count) for index in range(count)])]
