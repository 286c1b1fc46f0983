"""Racing: which items have the k highest means, from a few percent of the cells.

Everybody is asked at the pair that tells most; whoever then lies near the k-th place is asked at more and more pairs
until nobody is near it. How near is near enough follows from what the pairs that were not asked may still change, which
complete rows show: those of the items most like the query, and some of the best.

No bound that holds for all distributions is of any use here (Hoeffding's and empirical Bernstein's need all cells), so
membership is decided up to ``doubt`` standard deviations, and the expected number of misses is told. The constants come
from complete tables of losses of several datasets; sets that took no part in the choice did as well
(``benchmarks/adaptive_scoring.py`` makes such tables). Nothing is carried from one query to the next: an order of pairs
that was the best for one query has lost two thirds of the top of another.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tdattr.scores import LISTED
from tdattr.scoring.allocation import Allocated, Ask, Cells
from tdattr.scoring.row_means import Covariance, RowMean, estimate_covariance, estimators, order_pairs, smooth_prior

RUNGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # numbers of pairs that a row may be asked at, before all of them
NEAR_ROWS = 8  # complete rows of the items most like the query, which choose the first pair
CALIBRATION_ROWS = 40  # complete rows from the head, at most
ROWS_PER_COMPLETE = 250  # there is a calibration row for every so many rows, less those of near items
HEAD = 3  # times k: so many of the best by the first pair are asked at more pairs at once
HEAD_RUNGS = 3  # that the head climbs before anything is judged
POOLED_STEPS = 30  # steps of all rungs that count towards the spread of the steps of one
LEAST_STEPS = 4  # rows that made a step, for its spread to be looked at
LEAST_PREDICTED = 0.3  # of a rung's variance: what a step is at least taken to have been predicted to move
# of Student's distribution, by which misses are expected: of 165 000 estimates 5 in 10 000 erred by 3.5 to 4 standard
# deviations, more than normal ones do
TAIL_FREEDOM = 20


@dataclass(frozen=True)
class Outline:
    """What is known of rows and columns before the race. ``near``: rows, those most like the query first;
    ``positions``: of the columns along the schedule; ``sides``: rows r, r + n, r + 2 n … are sides of one item, which
    counts as its best one; ``absolute``: rows are ranked by how far their mean is from 0."""

    near: Int[np.ndarray, " row"]
    positions: Float[np.ndarray, " column"]
    sides: int = 1
    absolute: bool = False

    def scores(self, means: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        """What rows are ranked by."""
        return np.abs(means) if self.absolute else means

    def items(self, scores: Float[np.ndarray, " row"]) -> Float[np.ndarray, " item"]:
        """The best of each item's sides."""
        return scores.reshape(self.sides, -1).max(0)


@dataclass
class Race:
    """The state of a race for the ``k`` highest of the items. ``rung``: how many of the RUNGS a row has climbed;
    ``bought``: rows that were asked at all pairs without climbing."""

    cells: Cells
    outline: Outline
    k: int
    doubt: float
    rungs: list[int]
    rung: Int[np.ndarray, " row"]
    bought: Bool[np.ndarray, " row"]
    order: Int[np.ndarray, " column"]
    prior: Covariance  # over the columns, which that of complete rows is shrunk to

    def buy(self, rows: Int[np.ndarray, " chosen"]) -> None:
        """Complete some rows at once."""
        self.cells.fill_rows(rows)
        self.rung[rows] = len(self.rungs) - 1
        self.bought[rows] = True

    def climb(self, rows: Int[np.ndarray, " chosen"]) -> None:
        """Ask some rows at the pairs up to their next rungs."""
        self.rung[rows] += 1
        wanted = np.zeros(self.cells.known.shape, bool)
        counts = np.array(self.rungs)[self.rung[rows]]
        wanted[np.ix_(rows, self.order)] = np.arange(len(self.order)) < counts[:, None]
        self.cells.fill(wanted)

    def estimate_at(
        self, rows: Int[np.ndarray, " chosen"], rung: int, means: list[RowMean]
    ) -> Float[np.ndarray, " chosen"]:
        """The estimates of rows from the pairs of a rung that they have reached."""
        return self.cells.values[np.ix_(rows, self.order[: self.rungs[rung]])] @ means[rung].weights

    def estimate(self) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
        """Every row's mean and its standard error.

        Rows whose estimates moved on average from one rung to the next say that those below will too; how much they
        moved, against what the covariance predicted, scales the errors.
        """
        values, last = self.cells.values, len(self.rungs) - 1
        covariance = estimate_covariance(values[self.cells.complete], self.prior)
        row_means = estimators(covariance, self.order, self.rungs)
        variances = np.array([row_mean.variance for row_mean in row_means])
        drift, squares, counts = np.zeros((3, last + 1))
        for rung in range(1, last + 1):
            climbed = np.flatnonzero((self.rung >= rung) & ~self.bought)
            if len(climbed) < LEAST_STEPS:
                break
            steps = self.estimate_at(climbed, rung, row_means) - self.estimate_at(climbed, rung - 1, row_means)
            predicted = max(variances[rung - 1] - variances[rung], LEAST_PREDICTED * variances[rung - 1])
            drift[rung] = steps.mean()
            counts[rung] = len(climbed) - 1
            squares[rung] = np.square(steps - steps.mean()).sum() / predicted if predicted > 0 else counts[rung]
        pooled = squares.sum() / counts.sum() if counts.any() else 1.0  # as the covariance says
        means, errors = np.empty(len(values)), np.zeros(len(values))
        for rung in np.unique(self.rung).tolist():
            rows = np.flatnonzero(self.rung == rung)
            above = slice(rung + 1, None)
            means[rows] = self.estimate_at(rows, rung, row_means) + drift[above].sum()
            spread = (squares[above].sum() + POOLED_STEPS * pooled) / (counts[above].sum() + POOLED_STEPS)
            errors[rows] = np.sqrt(variances[rung] * spread)
        return means, errors

    def boundary(self, means: Float[np.ndarray, " row"]) -> float:
        """Between the k-th item and the next."""
        ranked = np.sort(self.outline.items(self.outline.scores(means)))[::-1]
        return float(ranked[self.k - 1 : self.k + 1].mean())

    def undecided(
        self, means: Float[np.ndarray, " row"], errors: Float[np.ndarray, " row"]
    ) -> Int[np.ndarray, " open"]:
        """Rows on which it depends whether their item is among the k highest."""
        high_enough = self.outline.scores(means) + self.doubt * errors >= self.boundary(means)
        return np.flatnonzero((errors > 0) & high_enough & ~self.safe(means, errors))

    def safe(self, means: Float[np.ndarray, " row"], errors: Float[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Whether the item of a row is among the k highest by whichever of its sides."""
        lowest = self.outline.items(self.outline.scores(means) - self.doubt * errors)
        return np.tile(lowest > self.boundary(means), self.outline.sides)

    def unlisted(self, means: Float[np.ndarray, " row"], errors: Float[np.ndarray, " row"]) -> Int[np.ndarray, " open"]:
        """Rows that may be among the LISTED highest items and are not complete."""
        scores = self.outline.scores(means)
        lowest = np.sort(self.outline.items(scores))[-LISTED:][0]
        return np.flatnonzero((scores + self.doubt * errors >= lowest) & ~self.cells.complete)


def race(ask: Ask, outline: Outline, k: int, doubt: float) -> Allocated:
    """Decide which ``k`` items have the highest means over all columns (1 <= k < items).

    A row climbs while its estimate lies within ``doubt`` standard deviations of the boundary between the k-th item and
    the next. Of the others only an estimate is known, which must not be used as a score: it tells on which side of the
    boundary they lie. Rows are complete that may, with the same doubt, be among the LISTED highest. Facts: those of
    `Cells`; ``rounds``; and ``expected_misses``, how many of the k are expected to be others. Stops where a shift is
    not finite.
    """
    rows, columns = len(outline.near), len(outline.positions)
    state = Race(
        Cells.start(ask, rows, columns), outline, k, doubt,
        [count for count in RUNGS if count < columns] + [columns],
        np.zeros(rows, np.int64), np.zeros(rows, bool), np.arange(columns), smooth_prior(outline.positions),
    )  # fmt: skip
    cells = state.cells

    def order(known: Int[np.ndarray, " known"]) -> Int[np.ndarray, " column"]:
        return order_pairs(estimate_covariance(cells.values[cells.complete], state.prior), known)

    state.buy(outline.near[:NEAR_ROWS])
    state.order = order(np.array([], np.int64))
    first = state.order[:1]
    cells.fill_columns(first)
    head = np.argsort(-outline.scores(cells.values[:, first[0]]), kind="stable")[: HEAD * k]
    head = head[~state.bought[head]]
    calibration = min(max(rows // ROWS_PER_COMPLETE - NEAR_ROWS, 0), CALIBRATION_ROWS)
    if calibration and len(head):
        state.buy(head[np.unique(np.linspace(0, len(head) - 1, calibration).astype(int))])
        head = head[~state.bought[head]]
    state.order = order(first)
    for _ in range(min(HEAD_RUNGS, len(state.rungs) - 1)):
        state.climb(head)
    means, errors = state.estimate()
    rounds = 0
    while cells.finite and len(undecided := state.undecided(means, errors)):
        state.climb(undecided)
        rounds += 1
        means, errors = state.estimate()
    while cells.finite and len(unlisted := state.unlisted(means, errors)):  # which changes nobody else's estimate
        cells.fill_rows(unlisted)
        means[unlisted], errors[unlisted] = cells.values[unlisted].mean(1), 0
    facts = {"rounds": rounds, "expected_misses": expect_misses(state, means, errors)}
    return Allocated(means, errors, cells.facts | facts)


def expect_misses(state: Race, means: Float[np.ndarray, " row"], errors: Float[np.ndarray, " row"]) -> float:
    """How many of the k highest are expected to be left out: half of the items that are expected to lie on the other
    side of the boundary than their estimates do; rows of an item as if they erred independently. With little doubt
    rather too many: the errors of items that hardly move are smaller than those of the complete rows."""
    from scipy.stats import t  # takes a second to import

    unsure = (errors > 0) & ((state.outline.scores(means) >= state.boundary(means)) | ~state.safe(means, errors))
    distances = np.abs(state.outline.scores(means[unsure]) - state.boundary(means)) / errors[unsure]
    return min(float(t.sf(distances, TAIL_FREEDOM).sum()) / 2, float(state.k))
