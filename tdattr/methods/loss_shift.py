"""How far the loss of every training item moved between F1 and an unlearned copy: the score of unlearning methods."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context, MethodWork
from tdattr.methods.f1_losses import f1_table, loss_model
from tdattr.methods.schedule_share import AUTO, Share, check_share, find_share, plan_threshold
from tdattr.ranges import Count, Positive
from tdattr.scoring.allocation import AllCells, Rounds, Tally
from tdattr.scoring.cells import Block, LossModel, QueryItems, TrainingItems
from tdattr.scoring.loss_table import ComputedTable, LossTable
from tdattr.scoring.pairs import Counted, NoiseSet, OwnNoise, Pairs
from tdattr.seeding import generator, normal

Shift = Callable[[nn.Module, int], Tensor]  # unlearned network, index of the query -> scores [target]
DrawPairs = Callable[[int], Pairs]  # model (0: F1; 1 + query: after that query) -> its pairs


@dataclass(frozen=True)
class ShiftConfig:
    """The ``score`` node of an unlearning method.

    ``levels``: the first ``schedule_share`` of the ``generation`` schedule (a number, or ``auto``: see
    ``schedule_share.py``); those of a ``discrete`` process (AbU's t = 0, T / pairs, …) or the ``training``
    distribution, of which there is no share. ``form``: ``skew`` (MUCS eq. 3), which alone has an ``epsilon``, the plain
    ``difference``, or its ``absolute`` value. ``consistent``: the same pairs for all items and both models; otherwise
    every item has noise of its own under every model, and losses are averaged before they are compared. ``kept``: all
    pairs, or those at which the query's own loss ``moved`` at least as far as on average. ``mirror``: the larger score
    of an image and its mirror image. ``captions``: the ``first`` one of an item, or the mean over ``all``.
    """

    pairs: Count
    levels: Literal["generation", "discrete", "training"]
    schedule_share: Share | None
    form: Literal["skew", "difference", "absolute"]
    consistent: bool
    kept: Literal["all", "moved"]
    epsilon: Positive | None
    mirror: bool
    captions: Literal["first", "all"]

    def __post_init__(self) -> None:
        check_share("method.score", self.levels, self.schedule_share)
        if self.form == "skew" and self.epsilon is None:  # two losses of 0 are no shift
            raise UserError("method.score.epsilon must be a number above 0 with method.score.form=skew.")
        if self.form != "skew" and self.epsilon is not None:
            raise UserError(
                f"method.score.epsilon={self.epsilon} has no effect with method.score.form={self.form}: set it to null."
            )
        if self.kept != "all" and not self.consistent:
            raise UserError(f"method.score.kept={self.kept} needs method.score.consistent=true.")

    def compare(self, before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"]) -> Tensor:
        """How far each loss moved, upwards or downwards, [item, pair]."""
        if self.form != "skew":
            return after - before
        assert self.epsilon is not None
        return skew(before, after, self.epsilon)


def shift_scorer(context: Context, config: ShiftConfig) -> Shift:
    """The function that scores an unlearned network; F1's losses, which all queries share, are computed first."""
    sides = list_items(context, config)
    draw_pairs = shared_noise(context, config) if config.consistent else own_noise(context, config)
    pairs = draw_pairs(0)
    noise = describe_noise(config, chosen_share(context, config))
    before = {items: f1_table(context, items, pairs, noise) for side in sides for items in side}
    for table in before.values():
        table.whole()

    f1 = loss_model(context, context.f1.load()) if config.kept == "moved" else None

    def score(network: nn.Module, query: int) -> Float[Tensor, " target"]:
        model = loss_model(context, network)
        kept = np.arange(len(pairs))
        if f1 is not None:
            kept = find_moved_pairs(context, config, f1, model, pairs, query)
        pairs_after = draw_pairs(1 + query)
        description = f"Losses after query {query}"

        def shift(items: TrainingItems) -> Float[Tensor, " target"]:
            after = ComputedTable(items, pairs_after, model, description)
            return mean_shift(config, before[items], after, AllCells(Block(np.arange(len(items)), kept)))

        return torch.stack([torch.stack([shift(items) for items in side]).mean(0) for side in sides]).amax(0)

    return score


def list_items(context: Context, config: ShiftConfig) -> list[list[TrainingItems]]:
    """The items as they are seen: on one side or both, and there under each caption."""
    split = context.data.train
    captions = split.captions if config.captions == "all" else 1
    return [
        [TrainingItems(split, context.ids, mirrored, caption) for caption in range(captions)]
        for mirrored in ([False, True] if config.mirror else [False])
    ]


def describe_noise(config: ShiftConfig, share: Share | None) -> dict[str, Any]:
    """What F1's losses depend on besides the items; ``share``: of the schedule."""
    noise: dict[str, Any] = {"pairs": config.pairs, "levels": config.levels, "consistent": config.consistent}
    return noise if share is None else noise | {"schedule_share": share}


def count_shift(context: Context, config: ShiftConfig) -> MethodWork:
    """What ``shift_scorer`` takes for each query: every loss after unlearning, or, of the pairs that moved, at most
    that. F1's losses are artifacts; while a share of the schedule is to be derived, theirs have no address yet."""
    share, needs = config.schedule_share, list(context.f1.plans)
    if share == AUTO:
        needs.append(plan_threshold(context))
        if needs[-1].finished:
            share = chosen_share(context, config)
    pairs = Counted(config.pairs, 1 if config.consistent else config.pairs)
    seen = [items for side in list_items(context, config) for items in side]
    for items in seen:
        needs += items.split.plan_x(items.mirrored)
        needs += f1_table(context, items, pairs, describe_noise(config, share)).plan_blocks()
    losses = len(seen) * len(context.ids) * config.pairs
    chosen = config.kept == "moved"
    work = Work(evaluations=losses + (2 * config.pairs if chosen else 0), at_most=chosen)
    return MethodWork(work, needs=needs)


def mean_shift(config: ShiftConfig, before: LossTable, after: LossTable, rounds: Rounds) -> Float[Tensor, " target"]:
    """How far the losses of every item moved on average over the cells that ``rounds`` chooses.

    Where the noise is not consistent the two losses of a cell do not belong together, and an item's means over its
    cells are compared. An ``absolute`` shift is that of an item's mean, not a mean over its cells.
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
    shift = first if config.consistent else config.compare(first[:, None], second[:, None])[:, 0]
    return shift.abs() if config.form == "absolute" else shift


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


def find_moved_pairs(
    context: Context, config: ShiftConfig, f1: LossModel, after: LossModel, pairs: Pairs, query: int
) -> Int[np.ndarray, " kept"]:
    """The indices of the pairs at which the query's own loss moved at least as far as on average."""
    items = QueryItems(context.queries.select(slice(query, query + 1)))
    shifts = config.compare(f1.table(items, pairs), after.table(items, pairs))[0]
    if config.form == "absolute":
        shifts = shifts.abs()
    return np.flatnonzero((shifts >= shifts.mean()).numpy())


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


def skew(
    before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"], epsilon: float
) -> Float[Tensor, "item pair"]:
    """(L2 - L1) / (|L2| + |L1| + epsilon), whose mean over the pairs is MUCS eq. 3."""
    return (after - before) / (after.abs() + before.abs() + epsilon)
