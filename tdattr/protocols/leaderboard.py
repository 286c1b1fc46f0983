"""The leaderboard of a bank: what every method reaches on its queries, and where another one stands among them.

Its first row is retraining itself: what models that were trained under other seeds reach as a method.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tdattr.metrics.agreement import sign_flip_p_value
from tdattr.protocols.bank_file import LEADERBOARD
from tdattr.tables import DataFrame, read_table

OWN = "this run"
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
    known: DataFrame | None,
    ceilings: Mapping[str, float | None],
) -> Ranking:
    """The means of every known method and of this run, and the ceilings, the best first by the first of the measures in
    their `order`, and the two-sided p of the difference in it: paired sign flips over the queries that were asked
    here."""
    if known is None:
        return []
    count, (main, *_) = len(next(iter(measured.values()))), order(measured, ceilings)
    asked = known[known["query"] < count]
    rows = average(asked, list(measured), ceilings)
    for row in rows:
        values = asked[asked["method"] == row["method"]].sort_values("query")
        paired = row[main] is not None and values["query"].tolist() == list(range(count))
        row["p"] = sign_flip_p_value(measured[main], values[main].to_numpy(np.float64), RESAMPLES) if paired else None
    rows.insert(1, {"method": OWN, "p": None} | {name: float(values.mean()) for name, values in measured.items()})
    return sort(rows, [main])


def order(measures: Iterable[str], ceilings: Mapping[str, float | None]) -> list[str]:
    """The measures by which methods are ranked: first those that tell them apart."""

    def tells(name: str) -> bool:
        ceiling = ceilings.get(name)
        return ceiling is None or ceiling >= TELLING

    return sorted(measures, key=tells, reverse=True)


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


def show(ranking: Ranking, form: str = "plain") -> str:
    """A ranking as a table in one of tabulate's forms."""
    from tabulate import tabulate

    measures = [name for name in ranking[0] if name not in ("method", "p", SECONDS)]
    measures = sorted(measures, key=lambda name: list(HEADINGS).index(name) if name in HEADINGS else len(HEADINGS))
    table = []
    for row in ranking:
        cells = {"method": row["method"]} | {HEADINGS.get(name, name): write(row[name], ".3f") for name in measures}
        if "p" in ranking[0]:
            cells["p"] = write(row["p"], ".2g")
        table.append(cells | {"s per query": write(row.get(SECONDS), ".2f")})
    align = ["left", *["right"] * (len(table[0]) - 1)]
    return tabulate(table, headers="keys", tablefmt=form, colalign=align, disable_numparse=True)


def write(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return "–" if value is None else format(value, form)
