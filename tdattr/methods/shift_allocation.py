"""Scores of unlearning methods from some of the cells: by racing, or by importance."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Work
from tdattr.methods import Context, Scored
from tdattr.methods.shift_config import ShiftConfig
from tdattr.scoring.cells import Indices, Items
from tdattr.scoring.importance import COMPLETE_ROWS, weigh
from tdattr.scoring.loss_table import LossTable
from tdattr.scoring.pairs import Pairs
from tdattr.scoring.racing import Outline, race
from tdattr.seeding import generator

NEAR_BYTES = 1 << 27  # of the x of items that are compared with a query at a time
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
    rows, absolute = len(tables) * items, config.form == "absolute"
    if config.allocation == "racing":
        assert context.top is not None  # checked before anything is built
        sides = [side[0][0].items for side in tables]  # whose x is the same under every caption
        outline = Outline(find_near(sides, context.queries.x[query]), positions, len(tables), absolute)
        allocated = race(ask, outline, context.top, config.doubt)
        facts = allocated.facts
    else:
        rng = generator(context.seed, "score.complete", query)
        allocated = weigh(ask, rows, positions, min(config.pairs_each, len(kept)) * captions, rng)
        facts = allocated.facts | {"standard_error": float(allocated.standard_errors.mean())}
    scores, errors = allocated.means, allocated.standard_errors
    by_side = torch.from_numpy(np.abs(scores) if absolute else scores).view(len(tables), -1)
    # the best side counts, and any side may turn out to be it
    return Scored(by_side.amax(0).float(), facts, torch.from_numpy(errors).view(len(tables), -1).amax(0).float())


def find_near(sides: Sequence[Items], wanted: Float[Tensor, "*x"]) -> Int[np.ndarray, " row"]:
    """The items, of the second side after those of the first, in the order of how far their x is from a query's."""
    size = max(1, NEAR_BYTES // (NUMBER_BYTES * wanted.numel()))
    distances = []
    for items in sides:
        for start in range(0, len(items), size):
            x, _ = items.take(np.arange(start, min(start + size, len(items))))
            distances.append((x - wanted).square().flatten(1).sum(1))
    return torch.cat(distances).argsort(stable=True).numpy()


def count_cells(config: ShiftConfig, rows: int, captions: int) -> tuple[Work, Work | None]:
    """The losses after unlearning that the scores of a query take, and how many they are as a rule where that is
    a bound; ``rows``: items, with their sides."""
    cells = rows * captions * config.pairs
    if config.allocation == "importance":
        asked = rows * captions * config.pairs_each
        complete = min(rows, COMPLETE_ROWS) * captions * (config.pairs - config.pairs_each)
        return Work(evaluations=asked + complete), None
    if config.allocation == "racing":
        return Work(evaluations=cells, at_most=True), Work(evaluations=round(USUAL_SHARE * cells))
    return Work(evaluations=cells), None
