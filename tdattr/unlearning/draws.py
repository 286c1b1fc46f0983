"""What unlearning batches are drawn from: training items or copies of a query, each at its own noise."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.seeding import normal

Levels = Callable[[np.random.Generator, int], Float[Tensor, " count"]]
SCHEDULE_POINTS = 1000  # of the generation schedule, between which nothing is drawn


def training_draw(
    split: Split, ids: Int[np.ndarray, " item"], count: int, rng: np.random.Generator, levels: Levels
) -> tuple[dict[str, Tensor], Int[np.ndarray, " count"]]:
    """``count`` different training items, each with one of its captions, at noise of their own; and their ids."""
    chosen = rng.choice(ids, count, replace=False)
    variants = 1 if split.conditions is None else split.conditions.shape[1]
    return draw(split.images(chosen), split.condition(chosen, rng.integers(variants, size=count)), rng, levels), chosen


def draw(x: Tensor, condition: Tensor | None, rng: np.random.Generator, levels: Levels) -> dict[str, Tensor]:
    """Arguments of ``diffusion.loss`` for these items with an independent level and noise image each."""
    batch = {"x": x, "level": levels(rng, len(x)), "noise": normal(rng, *x.shape)}
    return batch if condition is None else batch | {"condition": condition}


def generation_draw(diffusion: Diffusion) -> Levels:
    """Levels drawn uniformly along the generation schedule."""
    schedule = diffusion.generation_levels(SCHEDULE_POINTS)
    return lambda rng, count: schedule[torch.from_numpy(rng.integers(len(schedule), size=count))]
