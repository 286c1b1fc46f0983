"""Do the similarities after a method's removal lie below those after a random removal, and how far?"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int

from tdattr.wording import counted

NORMAL_95 = 1.98  # the factor of the paper's interval (MUCS A.2)
MIN_MEDIAN = 0.01  # that a change is measured from: similarities such as SSCD's may be zero or negative (MUCS code)
MARK = "†"  # where no change is shown, as it would be measured from MIN_MEDIAN
FOOTNOTE = (
    f"{MARK}: the median after random removal is below {MIN_MEDIAN}, so that a change in percent of it says nothing."
)
NO_CHANGE_MARK = "‡"
NO_CHANGE = (
    f"{NO_CHANGE_MARK}: the interval of the change holds zero; whatever the AUC, nothing shows that the removal did "
    "more than a random one."
)
RESAMPLES = 2000  # of queries, for the interval of an AUC
FEWEST_QUERIES = 10  # behind a p value, a test or a mean over queries; ours
FEW_MARK = "§"
FEW = f"{FEW_MARK}: fewer than {FEWEST_QUERIES} queries stand behind it."


@dataclass(frozen=True)
class RemovalEffect:
    """What the removal of what a method named did to one measure, against the removal of the reference."""

    auc: float  # 1: every similarity lies below every one of the reference; 0.5: no difference
    p_value: float
    difference_percent: float
    ci95: float  # half the width of the interval of difference_percent
    small_median: bool  # of the reference: below MIN_MEDIAN, which difference_percent takes in its place
    queries: int

    @property
    def no_change(self) -> bool:
        """Whether the interval of the change holds zero; also where there is none."""
        return not self.small_median and not abs(self.difference_percent) > self.ci95

    @property
    def few_queries(self) -> bool:
        """Whether too few queries stand behind the p value."""
        return self.queries < FEWEST_QUERIES

    @property
    def marks(self) -> str:
        """Those of the footnotes that belong to it."""
        marks = {MARK: self.small_median, NO_CHANGE_MARK: self.no_change, FEW_MARK: self.few_queries}
        return "".join(mark for mark, holds in marks.items() if holds)

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def compare(
    values: Float[np.ndarray, " query"], reference: Float[np.ndarray, " reference"], two_tailed: bool = False
) -> RemovalEffect:
    """AUC, Mann-Whitney p and mean difference in percent of the reference's median (MUCS §4 and B.1).

    One-tailed: a method is better when its similarities are *lower*; two-tailed for controls, which should not move.
    A median below ``MIN_MEDIAN`` is taken to be that, as in the MUCS code, so that it divides by nothing negative. What
    comes out is below zero even where similarities rose, so ``show_change`` does not show it.
    """
    from scipy.stats import mannwhitneyu  # takes a second to import

    test = mannwhitneyu(reference, values, alternative="two-sided" if two_tailed else "greater")
    median = float(np.median(reference))
    changes = 100 * (values / max(median, MIN_MEDIAN) - 1)
    spread = float(np.std(changes, ddof=1)) if len(changes) > 1 else float("nan")
    return RemovalEffect(
        auc=float(test.statistic / (len(values) * len(reference))),
        p_value=float(test.pvalue),
        difference_percent=float(changes.mean()),
        ci95=NORMAL_95 * spread / len(changes) ** 0.5,
        small_median=median < MIN_MEDIAN,
        queries=len(values),
    )


def auc_interval(
    values: Float[np.ndarray, " query"], reference: Float[np.ndarray, " query"], resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % percentile interval of the AUC when the queries are drawn again, with replacement, each with its
    similarity under both removals. It covers the choice of queries only, not the randomness of the retrainings."""
    count = len(values)
    wins = (reference[:, None] > values) + 0.5 * (reference[:, None] == values)  # Mann-Whitney, ties by half
    drawn = np.random.default_rng(0).multinomial(count, [1 / count] * count, size=resamples)
    aucs = ((drawn @ wins) * drawn).sum(1) / count**2
    low, high = np.percentile(aucs, [2.5, 97.5])
    return float(low), float(high)


def show_change(percent: float, ci95: float, small_median: bool, unit: str = "") -> str:
    """A change with its interval as people read it; ``MARK`` in place of one that says nothing."""
    if small_median:
        return f"–{MARK}"
    return f"{percent:+.1f}{unit}" if math.isnan(ci95) else f"{percent:+.1f} ± {ci95:.1f}{unit}"


def explain(marks: str) -> str:
    """The footnotes of the marks in a text."""
    footnotes = {MARK: FOOTNOTE, NO_CHANGE_MARK: NO_CHANGE, FEW_MARK: FEW}
    return " ".join(footnote for mark, footnote in footnotes.items() if mark in marks)


def mark_few(queries: int) -> str | None:
    """The mark of what so many queries stand behind; None where they are enough."""
    return FEW_MARK if queries < FEWEST_QUERIES else None


def warn_few(queries: int, setting: str) -> str | None:
    """What there is to say where too few queries stand behind a verdict; ``setting``: by which there would be more."""
    if queries >= FEWEST_QUERIES:
        return None
    return f"The verdict stands on {counted(queries, 'query')}, fewer than {FEWEST_QUERIES}: raise {setting}."


def overlap(top: Int[np.ndarray, "query k"]) -> tuple[float, float]:
    """The mean share of items, in percent, that two queries' top-k sets have in common, and its 95 % half interval.

    Over all pairs of queries (MUCS B.2); (nan, nan) for a single query.
    """
    shares = [100 * len(np.intersect1d(a, b)) / top.shape[1] for i, a in enumerate(top) for b in top[i + 1 :]]
    if not shares:
        return float("nan"), float("nan")
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else float("nan")
    return float(np.mean(shares)), NORMAL_95 * spread / len(shares) ** 0.5
