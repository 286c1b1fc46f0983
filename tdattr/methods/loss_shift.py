"""How far the loss of every training item moved between F1 and an unlearned copy: the score of unlearning methods."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context
from tdattr.methods.f1_losses import f1_table, loss_model
from tdattr.scoring.allocation import AllCells, Rounds, Tally
from tdattr.scoring.cells import Block, LossModel, QueryItems, TrainingItems
from tdattr.scoring.loss_table import ComputedTable, LossTable
from tdattr.scoring.pairs import NoiseSet, OwnNoise, Pairs
from tdattr.seeding import generator, normal

Shift = Callable[[nn.Module, int], Tensor]  # unlearned network, index of the query -> scores [target]


@dataclass(frozen=True)
class ShiftConfig:
    """The ``score`` node of an unlearning method.

    ``levels``: the first ``schedule_share`` of the ``generation`` schedule, those of a ``discrete`` process (AbU's
    t = 0, T / pairs, …), or the ``training`` distribution.
    ``form``: ``skew`` (MUCS eq. 3) or plain ``difference``. ``consistent``: the same pairs for all items and both
    models; otherwise every item and model has its own and losses are averaged before they are compared. ``kept``: all
    pairs, or those at which the query's own loss ``moved`` at least as far as on average. ``mirror``: the larger
    score of an image and its mirror image. ``captions``: the ``first`` one of an item, or the mean over ``all``.
    """

    pairs: int
    levels: Literal["generation", "discrete", "training"]
    schedule_share: float
    form: Literal["skew", "difference"]
    consistent: bool
    kept: Literal["all", "moved"]
    epsilon: float
    mirror: bool
    captions: Literal["first", "all"]

    def __post_init__(self) -> None:
        if not 0 < self.schedule_share <= 1:
            raise UserError(f"method.score.schedule_share={self.schedule_share} must lie in (0, 1].")
        if self.pairs < 1:
            raise UserError(f"method.score.pairs={self.pairs} must be at least 1.")
        if self.kept != "all" and not self.consistent:
            raise UserError(f"method.score.kept={self.kept} needs method.score.consistent=true.")

    def compare(self, before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"]) -> Tensor:
        """How far each loss moved, [item, pair]."""
        return skew(before, after, self.epsilon) if self.form == "skew" else after - before


def shift_scorer(context: Context, config: ShiftConfig) -> Shift:
    """The function that scores an unlearned network; F1's losses, which all queries share, are computed first."""
    split = context.data.train
    captions = split.captions if config.captions == "all" else 1
    sides = [
        [TrainingItems(split, context.ids, mirrored, caption) for caption in range(captions)]
        for mirrored in ([False, True] if config.mirror else [False])
    ]
    pairs: Pairs = noise_set(context, config) if config.consistent else own_noise(context, config, 0)
    noise: dict[str, Any] = {"pairs": config.pairs, "levels": config.levels, "consistent": config.consistent}
    if config.levels == "generation":
        noise["schedule_share"] = config.schedule_share
    before = {items: f1_table(context, items, pairs, noise) for side in sides for items in side}
    for table in before.values():
        table.whole()

    f1 = loss_model(context, context.f1.load()) if config.kept == "moved" else None

    def score(network: nn.Module, query: int) -> Float[Tensor, " target"]:
        model = loss_model(context, network)
        kept = np.arange(len(pairs))
        if f1 is not None:
            kept = find_moved_pairs(context, config, f1, model, pairs, query)
        pairs_after = pairs if config.consistent else own_noise(context, config, 1 + query)
        description = f"Losses after query {query}"

        def shift(items: TrainingItems) -> Float[Tensor, " target"]:
            after = ComputedTable(items, pairs_after, model, description)
            return mean_shift(config, before[items], after, AllCells(Block(np.arange(len(items)), kept)))

        return torch.stack([torch.stack([shift(items) for items in side]).mean(0) for side in sides]).amax(0)

    return score


def mean_shift(config: ShiftConfig, before: LossTable, after: LossTable, rounds: Rounds) -> Float[Tensor, " target"]:
    """How far the losses of every item moved on average over the cells that ``rounds`` chooses.

    Where the noise is not consistent the two losses of a cell do not belong together, and an item's means over its
    cells are compared.
    """
    tallies = Tally(len(before.items)), Tally(len(before.items))
    estimate = None
    while (block := rounds.next(estimate)) is not None:
        old, new = before.at(block), after.at(block)
        if config.consistent:
            tallies[0].add(block, config.compare(old, new))
            estimate = tallies[0].estimate()
        else:
            tallies[0].add(block, old)
            tallies[1].add(block, new)
    first, second = (tally.mean() for tally in tallies)
    return first if config.consistent else config.compare(first[:, None], second[:, None])[:, 0]


def noise_set(context: Context, config: ShiftConfig) -> NoiseSet:
    """The pairs that all items, queries and both models share (MUCS §2.4, C2 and C3)."""
    rng = generator(context.seed, "mucs.score")
    levels = fixed_levels(context.diffusion, config)
    if levels is None:
        levels = context.diffusion.training_levels(rng, config.pairs)
    return NoiseSet(levels, normal(rng, config.pairs, *context.queries.x.shape[1:]))


def own_noise(context: Context, config: ShiftConfig, model: int) -> OwnNoise:
    """Pairs of every item's own under one model (0: F1), their levels drawn from those that ``noise_set`` takes."""
    part = fixed_levels(context.diffusion, config)

    def draw(item: int) -> NoiseSet:
        rng = generator(context.seed, "score.own", model, item)
        levels = (
            context.diffusion.training_levels(rng, config.pairs)
            if part is None
            else part[torch.from_numpy(rng.integers(len(part), size=config.pairs))]
        )
        return NoiseSet(levels, normal(rng, config.pairs, *context.queries.x.shape[1:]))

    return OwnNoise(draw, config.pairs)


def find_moved_pairs(
    context: Context, config: ShiftConfig, f1: LossModel, after: LossModel, pairs: Pairs, query: int
) -> Int[np.ndarray, " kept"]:
    """The indices of the pairs at which the query's own loss moved at least as far as on average."""
    items = QueryItems(context.queries.select(slice(query, query + 1)))
    shifts = config.compare(f1.table(items, pairs), after.table(items, pairs))[0]
    return np.flatnonzero((shifts >= shifts.mean()).numpy())


def fixed_levels(diffusion: Diffusion, config: ShiftConfig) -> Float[Tensor, " pair"] | None:
    """The levels of the pairs; None where they are drawn."""
    if config.levels == "generation":
        return generation_part(diffusion, config.pairs, config.schedule_share)
    return diffusion.leading_levels(config.pairs) if config.levels == "discrete" else None


def generation_part(diffusion: Diffusion, pairs: int, share: float) -> Float[Tensor, " pair"]:
    """The first ``pairs`` of floor(pairs / share) levels of the generation schedule, most noise first (§2.4, C3)."""
    return diffusion.generation_levels(math.floor(pairs / share))[:pairs]


def skew(
    before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"], epsilon: float
) -> Float[Tensor, "item pair"]:
    """(L2 - L1) / (|L2| + |L1| + epsilon), whose mean over the pairs is MUCS eq. 3."""
    return (after - before) / (after.abs() + before.abs() + epsilon)
