"""The pairs of level and noise at which losses are compared before and after unlearning."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.diffusion import Diffusion
from tdattr.methods import Context
from tdattr.methods.schedule_share import Share, find_share
from tdattr.methods.shift_config import ShiftConfig
from tdattr.scoring.pairs import NoiseSet, OwnNoise, Pairs
from tdattr.seeding import generator, normal

DrawPairs = Callable[[int], Pairs]  # model (0: F1; 1 + query: after that query) -> its pairs


def noise_set(context: Context, config: ShiftConfig) -> NoiseSet:
    """The pairs that all items, queries and both models share (MUCS §2.4, C2 and C3)."""
    rng = generator(context.seed, "mucs.score")
    levels = fixed_levels(context.diffusion, config, chosen_share(context, config))
    if levels is None:
        levels = context.diffusion.training_levels(rng, config.pairs)
    return NoiseSet(levels, normal(rng, config.pairs, *context.queries.x.shape[1:]))


def shared_noise(context: Context, config: ShiftConfig) -> DrawPairs:
    """``noise_set`` under every model."""
    pairs = noise_set(context, config)
    return lambda model: pairs


def own_noise(context: Context, config: ShiftConfig) -> DrawPairs:
    """Noise of every item's own under every model. Its levels are drawn with it from the training distribution, or they
    are the same under every model: those of a discrete process, or what ``deal_levels`` gives the item."""
    share = chosen_share(context, config)
    dealt = None if share is None else deal_levels(context, share, config.pairs)
    fixed = fixed_levels(context.diffusion, config, None)

    def draw(model: int, item: int) -> NoiseSet:
        rng = generator(context.seed, "score.own", model, item)
        levels = fixed if dealt is None else dealt[item]
        if levels is None:
            levels = context.diffusion.training_levels(rng, config.pairs)
        return NoiseSet(levels, normal(rng, config.pairs, *context.queries.x.shape[1:]))

    return lambda model: OwnNoise(partial(draw, model), config.pairs)


def deal_levels(context: Context, share: float, pairs: int) -> Float[Tensor, "item pair"]:
    """A share of one generation schedule, dealt round by round to all items of the training split, most noise first.

    It has as many levels as items and pairs, so that every item gets one of each of its ``pairs`` parts. The authors'
    code deals a schedule to the 16 items of a batch; one for all items does not depend on batches. Which item comes
    when in a round is drawn once, so that levels do not follow the order of the ids.
    """
    items = len(context.data.train)
    levels = generation_part(context.diffusion, items * pairs, share).view(pairs, items)
    return levels.T[torch.from_numpy(generator(context.seed, "score.dealt").permutation(items))].contiguous()


def describe_noise(config: ShiftConfig, share: Share | None) -> dict[str, Any]:
    """What F1's losses depend on besides the items; ``share``: of the schedule."""
    noise: dict[str, Any] = {"pairs": config.pairs, "levels": config.levels, "consistent": config.consistent}
    return noise if share is None else noise | {"schedule_share": share}


def fixed_levels(diffusion: Diffusion, config: ShiftConfig, share: float | None) -> Float[Tensor, " pair"] | None:
    """The levels of the pairs that all items have in common; None where they are drawn. ``share``: of the schedule."""
    if share is not None:
        return generation_part(diffusion, config.pairs, share)
    return diffusion.leading_levels(config.pairs) if config.levels == "discrete" else None


def chosen_share(context: Context, config: ShiftConfig) -> float | None:
    """The share of the generation schedule; None where levels are not of it."""
    return None if config.schedule_share is None else find_share(context, config.schedule_share, config.pairs)


def generation_part(diffusion: Diffusion, pairs: int, share: float) -> Float[Tensor, " pair"]:
    """The first ``pairs`` of floor(pairs / share) generation levels, most noise first (MUCS §2.4, C3)."""
    return diffusion.generation_levels(math.floor(pairs / share))[:pairs]
