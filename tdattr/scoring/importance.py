"""Importance: an estimate of every item's mean from the same few cells, for what needs every score, such as sums."""

import numpy as np
from jaxtyping import Float, Int

from tdattr.scoring.allocation import Allocated, Ask, Cells
from tdattr.scoring.row_means import estimate_covariance, estimators, order_pairs, smooth_prior

COMPLETE_ROWS = 32  # drawn at random, which choose the pairs and their weights


def weigh(
    ask: Ask, rows: int, positions: Float[np.ndarray, " column"], count: int, rng: np.random.Generator
) -> Allocated:
    """Every row's mean over all columns from ``count`` of them: those that tell most, weighted by what they tell, as
    complete rows drawn by ``rng`` show. ``positions``: of the columns along the schedule, in [0, 1]. Facts:
    those of `Cells`."""
    cells = Cells.start(ask, rows, len(positions))
    cells.fill_rows(np.sort(rng.choice(rows, min(COMPLETE_ROWS, rows), replace=False)))
    complete = cells.complete
    covariance = estimate_covariance(cells.values[complete], smooth_prior(positions))
    order = order_pairs(covariance, np.array([], np.int64))
    cells.fill_columns(order[:count])
    counts = [count, len(positions)] if count < len(positions) else [len(positions)]
    row_mean = estimators(covariance, order, counts)[0]
    means = cells.values[:, order[: counts[0]]] @ row_mean.weights
    known = cells.values[complete].mean(1)
    means += (known - means[complete]).mean()
    means[complete] = known
    errors = np.where(complete, 0.0, left_out_error(cells.values[complete], order, count, positions))
    return Allocated(means, errors, cells.facts)


def left_out_error(
    complete: Float[np.ndarray, "row column"],
    order: Int[np.ndarray, " column"],
    count: int,
    positions: Float[np.ndarray, " column"],
) -> float:
    """The root mean square error of the estimate of a complete row from the first ``count`` columns, with weights and
    an offset that the other complete rows give."""
    if count == len(order):
        return 0.0
    prior, errors = smooth_prior(positions), []
    for row in range(len(complete)):
        others = np.delete(complete, row, axis=0)
        weights = estimators(estimate_covariance(others, prior), order, [count, len(order)])[0].weights
        offset = others.mean() - (others[:, order[:count]] @ weights).mean() if len(others) else 0.0
        errors.append(complete[row, order[:count]] @ weights + offset - complete[row].mean())
    return float(np.sqrt(np.mean(np.square(errors))))
