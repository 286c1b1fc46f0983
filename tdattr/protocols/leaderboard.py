"""The leaderboard of a bank: what every method reaches on its queries, and where another one stands among them.

Its first row is retraining itself: what models that were trained under other seeds reach as a method.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tdattr.metrics.agreement import estimate, sign_flip_p_value
from tdattr.protocols import name_interval
from tdattr.protocols.bank_file import LEADERBOARD
from tdattr.tables import DataFrame, read_table
from tdattr.wording import tell_interval

OWN = "this run"
NOTHING = "–"
CEILING = "retraining"  # under other seeds
SECONDS = "seconds_per_query"
TELLING = 0.2  # ours: where retraining itself reaches less, a measure hardly tells methods apart
RESAMPLES = 2000  # sign flips: no p is below one in so many
HEADINGS = {
    "lds_50": "LDS 50 %",
    "lds_95": "LDS 95 %",
    "logo_top_1": "LOGO top-1",
    "logo_spearman": "LOGO Spearman",
    "truth_top_1": "truth top-1",
    "truth_spearman": "truth Spearman",
}
Ranking = list[dict[str, Any]]


def load_leaderboard(folder: Path) -> DataFrame | None:
    """A row per method and query: ``method``, ``query``, ``seconds_per_query`` and the measures that it has; None where
    the bank has none yet."""
    path = folder / LEADERBOARD
    return read_table(path, ("method",)) if path.exists() else None


def rank(
    measured: Mapping[str, Float[np.ndarray, " query"]],
    known: DataFrame,
    ceilings: Mapping[str, float | None],
    resamples: int,
) -> Ranking:
    """The ceilings, this run and every known method, on the queries that were asked here, the best first by the first
    of the measures in their `order`.

    Of each measure the mean and, over the queries, the ends of its 95 % interval (``lds_50``, ``lds_50_low``,
    ``lds_50_high``); of those that tell methods apart also the two-sided p of the difference from this run
    (``lds_50_p``): paired sign flips.
    """
    count = len(next(iter(measured.values())))
    asked = known[known["query"] < count].sort_values("query")
    rows: Ranking = [{"method": CEILING} | {name: ceilings.get(name) for name in measured}, {"method": OWN}]
    for name, own in measured.items():
        rows[1] |= name_interval(name, estimate(own, resamples))
    for method, table in asked.groupby("method", sort=False):
        row: dict[str, Any] = {"method": str(method), SECONDS: mean_of(table, SECONDS)}
        for name, own in measured.items():
            row[name] = mean_of(table, name)
            if row[name] is not None:
                theirs = table[name].to_numpy(np.float64)
                row |= name_interval(name, estimate(theirs, resamples))
                if tells(name, ceilings) and table["query"].tolist() == list(range(count)):
                    row[name_p(name)] = sign_flip_p_value(own, theirs, RESAMPLES)
        rows.append(row)
    return sort(rows, order(measured, ceilings)[:1])


def tells(measure: str, ceilings: Mapping[str, float | None]) -> bool:
    """Whether a measure tells methods apart, as far as is known."""
    ceiling = ceilings.get(measure)
    return ceiling is None or ceiling >= TELLING


def order(measures: Iterable[str], ceilings: Mapping[str, float | None]) -> list[str]:
    """The measures by which methods are ranked: first those that tell them apart."""
    return sorted(measures, key=lambda name: tells(name, ceilings), reverse=True)


def name_p(measure: str) -> str:
    """Where the p of a measure stands in a row of a ranking."""
    return f"{measure}_p"


def sort(rows: Ranking, measures: Sequence[str]) -> Ranking:
    """The best first by the first of the measures, then by the next; what has no value is last."""
    return sorted(
        rows, key=lambda row: [-np.inf if row[name] is None else row[name] for name in measures], reverse=True
    )


def mean_of(table: DataFrame, column: str) -> float | None:
    """The mean of a column; None where the method has no such values."""
    if column not in table or table[column].isna().any():
        return None
    return float(table[column].mean())


def list_means(known: DataFrame, ceilings: Mapping[str, float | None]) -> Ranking:
    """The means of every method, and the ceilings, the best first by the measures in their `order`."""
    measures = [name for name in HEADINGS if name in known]
    return sort(average(known, measures, ceilings), order(measures, ceilings))


def average(known: DataFrame, measures: Sequence[str], ceilings: Mapping[str, float | None]) -> Ranking:
    """A row with the ceilings, and one with the means of every method."""
    rows: Ranking = [{"method": CEILING} | {name: ceilings.get(name) for name in measures}]
    for method, table in known.groupby("method", sort=False):
        means = {name: mean_of(table, name) for name in measures}
        rows.append({"method": str(method), **means, SECONDS: mean_of(table, SECONDS)})
    return rows


def show(ranking: Ranking) -> str:
    """The means of a leaderboard as a table of Markdown."""
    from tabulate import tabulate

    measures = [name for name in HEADINGS if name in ranking[0]]
    table = [
        {"method": row["method"]}
        | {HEADINGS[name]: write(row[name], ".3f") for name in measures}
        | {"s per query": write(row.get(SECONDS), ".2f")}
        for row in ranking
    ]
    align = ["left", *["right"] * (len(table[0]) - 1)]
    return tabulate(table, headers="keys", tablefmt="github", colalign=align, disable_numparse=True)


def show_places(ranking: Ranking, ceilings: Mapping[str, float | None]) -> str:
    """A table for each measure that tells methods apart. ``ceilings``: of all measures of the ranking."""
    parts = [show_place(ranking, name) for name in ceilings if tells(name, ceilings)]
    if untold := [HEADINGS.get(name, name) for name in ceilings if not tells(name, ceilings)]:
        parts.append(f"Not ranked by {', '.join(untold)}: there even retraining reaches less than {TELLING}.")
    parts.append(
        f"Intervals: over queries. p: paired test with {OWN} on the same queries, not corrected for their number."
    )
    return "\n\n".join(parts)


def show_place(ranking: Ranking, measure: str) -> str:
    """Where this run stands by a measure, and whether it differs from the others: a table, the best first."""
    from tabulate import tabulate

    rows = sort([row for row in ranking if row[measure] is not None], [measure])
    methods = [row["method"] for row in rows if row["method"] != CEILING]
    table = [
        {
            "method": row["method"],
            "mean": write(row[measure], ".3f"),
            "95 % interval": tell_ends(row.get(f"{measure}_low"), row.get(f"{measure}_high")),
            "p": write(row.get(name_p(measure)), ".2g"),
            "s per query": write(row.get(SECONDS), ".2f"),
        }
        for row in rows
    ]
    align = ("left", *["right"] * (len(table[0]) - 1))
    shown = tabulate(table, headers="keys", tablefmt="plain", colalign=align, disable_numparse=True)
    place = f"{OWN} is number {methods.index(OWN) + 1} of {len(methods)}"
    return f"{HEADINGS.get(measure, measure)}: {place}\n{shown}"


def tell_ends(low: float | None, high: float | None) -> str:
    """The ends of an interval, or nothing."""
    return NOTHING if low is None or high is None else tell_interval(low, high)


def write(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return NOTHING if value is None else format(value, form)
