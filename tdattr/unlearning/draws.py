"""The draws of unlearning batches: training items or copies of a query, each at its own level and noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.errors import UserError
from tdattr.networks import Given, move
from tdattr.seeding import normal

Levels = Callable[[np.random.Generator, int], Float[Tensor, " count"]]
SCHEDULE_POINTS = 1000  # of the generation schedule, between which nothing is drawn
ROUND = 1024  # levels drawn at a time where only some are kept
MOST_ROUNDS = 128  # without a single one that is kept


@dataclass(frozen=True)
class UnlearnBatch:
    """The retained and the forgotten items of an unlearning step; ``loss_weights`` are those of the retained items."""

    retain: Batch
    forget: Batch
    loss_weights: Float[Tensor, " batch"] | None = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> "UnlearnBatch":
        """The same with ``function`` applied to every tensor."""
        loss_weights = None if self.loss_weights is None else function(self.loss_weights)
        return UnlearnBatch(self.retain.apply(function), self.forget.apply(function), loss_weights)

    def to(self, device: torch.device) -> "UnlearnBatch":
        """The same on another device."""
        return self.apply(lambda value: move(value, device))

    def pin_memory(self) -> "UnlearnBatch":
        """The same in memory from which a GPU copies in the background."""
        return self.apply(lambda value: value.pin_memory())


def draw_items(
    split: Split, ids: Int[np.ndarray, " item"], count: int, rng: np.random.Generator, levels: Levels
) -> Batch:
    """``count`` different training items, each with its first caption, at noise of their own."""
    ids_drawn = rng.choice(ids, count, replace=False)
    batch = draw(split.x(ids_drawn, rng=rng), split.condition(ids_drawn), rng, levels)
    return replace(batch, ids=torch.from_numpy(ids_drawn))


def draw_copies(
    x: Float[Tensor, "*shape"],
    condition: Shaped[Tensor, "*condition"] | None,
    count: int,
    rng: np.random.Generator,
    levels: Levels,
) -> Batch:
    """``count`` copies of a query, at noise of their own."""
    copies = None if condition is None else condition.expand(count, *condition.shape)
    return draw(x.expand(count, *x.shape), copies, rng, levels)


def draw(
    x: Float[Tensor, "batch *shape"],
    condition: Shaped[Tensor, "batch *condition"] | None,
    rng: np.random.Generator,
    levels: Levels,
) -> Batch:
    """These items with an independent level and noise each."""
    return Batch(x, levels(rng, len(x)), normal(rng, *x.shape), Given(condition))


def generation_draw(diffusion: Diffusion, share: float = 1.0) -> Levels:
    """Levels drawn uniformly along the generation schedule: of floor(count / share) draws the ``count`` with the most
    noise, in the order in which they were drawn."""
    schedule = diffusion.generation_levels(SCHEDULE_POINTS)

    def draw_levels(rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        drawn = rng.integers(len(schedule), size=math.floor(count / share))
        return schedule[torch.from_numpy(drawn[np.sort(np.argsort(drawn, kind="stable")[:count])])]

    return draw_levels


def restricted_draw(diffusion: Diffusion, window: tuple[float, float]) -> Levels:
    """Levels drawn from the part of the training distribution that lies in a window, both ends included: whatever lies
    outside is drawn again. Raises UserError, when it draws, where the window holds no level."""

    def draw_within(rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        kept: list[Tensor] = []
        missing, fruitless = count, 0
        while missing > 0:
            drawn = diffusion.training_levels(rng, ROUND)
            inside = drawn[(drawn >= window[0]) & (drawn <= window[1])][:missing]
            kept.append(inside)
            missing -= len(inside)
            fruitless = 0 if len(inside) else fruitless + 1
            if fruitless == MOST_ROUNDS:
                raise UserError(
                    f"method.objective.window={list(window)} holds no level of training, which are {drawn.min():.3g} "
                    f"to {drawn.max():.3g} under this diffusion variant: nothing would be drawn."
                )
        return torch.cat(kept)

    return draw_within
