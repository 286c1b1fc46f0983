"""How far the loss of every training item moved between F1 and an unlearned copy: the score of unlearning methods."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tdattr.costs import Work
from tdattr.methods import Context, MethodWork, Scored
from tdattr.methods.f1_losses import f1_table, loss_model
from tdattr.methods.schedule_share import AUTO, plan_threshold
from tdattr.methods.shift_allocation import Tables, allocate, count_cells
from tdattr.methods.shift_config import ShiftConfig, list_items
from tdattr.methods.shift_noise import chosen_share, describe_noise, own_noise, shared_noise
from tdattr.scoring.cells import Block, LossModel, QueryItems
from tdattr.scoring.loss_table import ComputedTable, LossTable
from tdattr.scoring.pairs import Counted, Pairs

Shift = Callable[[nn.Module, int], Scored]  # unlearned network, index of the query -> scores [target]


def shift_scorer(context: Context, config: ShiftConfig) -> Shift:
    """The function that scores an unlearned network. F1's losses, which all queries share, are computed first where all
    are asked for, otherwise when they are."""
    config = config.settle(context.top, len(context.ids))
    sides = list_items(context, config)
    draw_pairs = shared_noise(context, config) if config.consistent else own_noise(context, config)
    pairs = draw_pairs(0)
    noise = describe_noise(config, chosen_share(context, config))
    before = {items: f1_table(context, items, pairs, noise) for side in sides for items in side}
    if config.allocation == "all":
        for table in before.values():
            table.whole()

    f1 = loss_model(context, context.f1.load()) if config.kept == "moved" else None

    def score(network: nn.Module, query: int) -> Scored:
        model = loss_model(context, network)
        kept = np.arange(len(pairs))
        if f1 is not None:
            kept = find_moved_pairs(context, config, f1, model, pairs, query)
        description = f"Losses after query {query}"
        pairs_after = draw_pairs(1 + query)
        after = {items: ComputedTable(items, pairs_after, model, description) for items in before}
        tables: Tables = [[(before[items], after[items]) for items in side] for side in sides]
        if config.allocation == "all":
            block = Block(np.arange(len(context.ids)), kept)
            means = [torch.stack([mean_shift(config, *both, block) for both in side]).mean(0) for side in tables]
            return Scored(torch.stack(means).amax(0))
        return allocate(context, config, tables, pairs, kept, query)

    return score


def count_shift(context: Context, config: ShiftConfig) -> MethodWork:
    """What ``shift_scorer`` takes for each query: every loss after unlearning, what the allocation leaves of them, or,
    of the pairs that moved, at most that. F1's losses are artifacts; while a share of the schedule is to be derived,
    theirs have no address yet."""
    config = config.settle(context.top, len(context.ids))
    share, needs = config.schedule_share, list(context.f1.plans)
    if share == AUTO:
        needs.append(plan_threshold(context))
        if needs[-1].finished:
            share = chosen_share(context, config)
    pairs = Counted(config.pairs, 1 if config.consistent else config.pairs)
    sides = list_items(context, config)
    for items in (items for side in sides for items in side):
        needs += items.split.plan_x(items.mirrored)
        needs += f1_table(context, items, pairs, describe_noise(config, share)).plan_blocks()
    chosen = config.kept == "moved"
    choice = Work(evaluations=2 * config.pairs if chosen else 0, at_most=chosen)
    most, usual = count_cells(config, len(sides) * len(context.ids), len(sides[0]))
    return MethodWork(most + choice, needs=needs, usual=None if usual is None else usual + choice)


def mean_shift(config: ShiftConfig, before: LossTable, after: LossTable, block: Block) -> Float[Tensor, " target"]:
    """How far the losses of every item moved on average over the pairs of a block of all items.

    Where the noise is not consistent the two losses of a cell do not belong together, and an item's means over its
    cells are compared. An ``absolute`` shift is that of an item's mean, not a mean over its cells.
    """
    old, new = before.at(block), after.at(block)
    if config.consistent:
        shift = average(config.compare(old, new))
    else:
        shift = config.compare(average(old)[:, None], average(new)[:, None])[:, 0]
    return shift.abs() if config.form == "absolute" else shift


def average(values: Float[Tensor, "item pair"]) -> Float[Tensor, " item"]:
    """The mean of every item."""
    return values.sum(1) / values.shape[1]


def find_moved_pairs(
    context: Context, config: ShiftConfig, f1: LossModel, after: LossModel, pairs: Pairs, query: int
) -> Int[np.ndarray, " kept"]:
    """The indices of the pairs at which the query's own loss moved at least as far as on average; all, where it is not
    finite."""
    items = QueryItems(context.queries.select(slice(query, query + 1)))
    shifts = config.compare(f1.table(items, pairs), after.table(items, pairs))[0]
    if config.form == "absolute":
        shifts = shifts.abs()
    moved = np.flatnonzero((shifts >= shifts.mean()).numpy())
    return moved if len(moved) else np.arange(len(pairs))  # losses that are not finite: so will be the scores
