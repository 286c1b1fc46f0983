"""Scores of unlearning methods from some of the cells: by racing, or by importance."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.costs import Work
from tdattr.methods import Context, Scored
from tdattr.methods.shift_config import ShiftConfig, list_items
from tdattr.scoring.allocation import Allocated
from tdattr.scoring.cells import Indices
from tdattr.scoring.importance import COMPLETE_ROWS, weigh
from tdattr.scoring.loss_table import LossTable
from tdattr.scoring.pairs import Pairs
from tdattr.scoring.racing import Outline, race
from tdattr.seeding import generator

NEAR_BLOCK = 4096  # items compared with a query at a time
Tables = list[list[tuple[LossTable, LossTable]]]  # losses before and after unlearning, by side and caption
USUAL_SHARE = 0.05  # of the cells that a race evaluates: benchmarks/adaptive_scoring.py


def allocate(
    context: Context,
    config: ShiftConfig,
    tables: Tables,
    pairs: Pairs,
    kept: Int[np.ndarray, " kept"],
    query: int,
) -> Scored:
    """The scores by some of the cells. ``kept``: which of the ``pairs`` count."""
    items, captions = len(context.ids), len(tables[0])

    def ask(rows: Indices, columns: Indices) -> Float[Tensor, " cell"]:
        """Rows are items, those of the second side after those of the first; columns are pairs, caption by caption."""
        shifts = torch.empty(len(rows))
        which = captions * (rows // items) + columns // len(kept)
        for number in np.unique(which).tolist():
            old, new = tables[number // captions][number % captions]
            cells = np.flatnonzero(which == number)
            place = rows[cells] % items, kept[columns[cells] % len(kept)]
            shifts[torch.from_numpy(cells)] = config.compare(old.cells(*place), new.cells(*place))
        return shifts

    levels, _ = pairs.take(np.zeros(len(kept), np.int64), kept)
    positions = np.tile(levels.argsort().argsort().numpy() / len(kept), captions)
    outline = Outline(find_near(context, config, query), positions, len(tables), config.form == "absolute")
    if config.allocation == "racing":
        assert context.top is not None  # checked before anything is trained
        found = race(ask, outline, context.top, config.doubt)
    else:
        rng = generator(context.seed, "score.complete", query)
        found = weigh(ask, len(outline.near), positions, config.pairs_each, rng)
    return best_sides(outline, found)


def best_sides(outline: Outline, found: Allocated) -> Scored:
    """The score of every item is that of its best side, and so is its standard error."""
    scores = torch.from_numpy(outline.scores(found.means)).view(outline.sides, -1)
    errors = torch.from_numpy(found.standard_errors).view(outline.sides, -1)
    best = scores.argmax(0, keepdim=True)
    return Scored(scores.gather(0, best)[0].float(), found.facts, errors.gather(0, best)[0].float())


def find_near(context: Context, config: ShiftConfig, query: int) -> Int[np.ndarray, " row"]:
    """The items, of the second side after those of the first, in the order of how far their x is from the query's."""
    sides = []
    for side in list_items(context, config):
        blocks = [
            np.arange(start, min(start + NEAR_BLOCK, len(side[0]))) for start in range(0, len(side[0]), NEAR_BLOCK)
        ]
        sides += [(side[0].take(block)[0] - context.queries.x[query]).square().flatten(1).sum(1) for block in blocks]
    return torch.cat(sides).argsort(stable=True).numpy()


def count_cells(config: ShiftConfig, rows: int) -> tuple[Work, Work | None]:
    """The losses after unlearning that the scores of a query take, and how many they are as a rule where that is
    a bound; ``rows``: items, with their sides and captions."""
    cells = rows * config.pairs
    if config.allocation == "importance":
        complete = min(rows, COMPLETE_ROWS)
        return Work(evaluations=rows * config.pairs_each + complete * (config.pairs - config.pairs_each)), None
    if config.allocation == "racing":
        return Work(evaluations=cells, at_most=True), Work(evaluations=round(USUAL_SHARE * cells))
    return Work(evaluations=cells), None
