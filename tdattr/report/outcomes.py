"""What a protocol found for one query and method: its main numbers, and whether they speak for the method."""

from typing import Any

import numpy as np

from tdattr.metrics.unlikely import warn_unlikely
from tdattr.protocols.group_agreement import TIED
from tdattr.report.collect import Run
from tdattr.report.gallery import shorten
from tdattr.report.per_query import numeric_columns
from tdattr.report.sheets import MAKERS
from tdattr.report.tables import PROTOCOL as REMOVAL

AGREEMENT = ("top_1", "spearman", "ndcg_3")  # of the protocols that judge groups
RISE = {"loss rise, %": "rise_percent", "loss rise, %_random": "random_rise_percent"}  # by its name in the page
OUTCOMES = {  # by protocol: what is said where the numbers speak for a method, and where not
    REMOVAL: ("changed more than after the random removal", "changed no more than after the random removal"),
    "removal_loss": ("loss rose more than after any random removal", "loss rose no more than after a random removal"),
    "logo": ("right group first", "wrong group first"),
    "truth": ("right group first", "wrong group first"),
    "lds": ("losses predicted: LDS above 0", "losses not predicted: LDS of 0 or below"),
}


def list_verdicts(run: Run, queries: int) -> list[dict[str, Any]]:
    """What the protocol found for each of so many queries: the main numbers of the package's protocols, all of others;
    the group that gold puts first; and as ``outcome`` which of the two sentences of ``OUTCOMES`` holds, 1 or 0. A
    number after as many random items were removed has the other's name and ``_random``."""
    if "evaluation" not in run.summary["artifacts"]:
        return [{}] * queries
    table = run.per_query
    metrics = list(run.summary.get("metrics", ()))
    main = {name: name for name in (*metrics, *(f"{each}_random" for each in metrics), "lds", *AGREEMENT)} | RISE
    packaged = any(run.summary["protocol"] in maker.PROTOCOLS for maker in MAKERS)
    names = main if packaged else {str(name): str(name) for name in numeric_columns(table)}
    found = []
    for row in table.iloc[:queries].to_dict("records"):
        verdict: dict[str, Any] = {name: shorten(float(row[key])) for name, key in names.items() if key in row}
        verdict |= {name: str(row[name]) for name in ("gold", "named") if name in row}
        outcome = judge(run, row)
        found.append(verdict if outcome is None else verdict | {"outcome": int(outcome)})
    return found + [{}] * (queries - len(found))


def judge(run: Run, row: dict[Any, Any]) -> bool | None:
    """Whether the numbers of a query speak for the method; None where its protocol does not say, where two groups are
    tied, and of the random method, for which nothing is claimed."""
    protocol = run.summary["protocol"]
    if run.config["method"]["name"] == "random":
        return None
    if protocol == REMOVAL:
        measure = next((name for name in run.summary.get("metrics", ()) if f"{name}_random" in row), None)
        return None if measure is None else bool(row[measure] < row[f"{measure}_random"])  # less like what it was
    if protocol == "removal_loss":
        return bool(row["rise_percent"] > row["random_rise_most_percent"])
    if protocol in ("logo", "truth"):
        return None if TIED in (row["gold"], row["named"]) else bool(row["gold"] == row["named"])
    return bool(row["lds"] > 0) if protocol == "lds" and np.isfinite(row["lds"]) else None


def describe_pictures(run: Run) -> dict[str, dict[str, Any]]:
    """What is known of the user's pictures by their names: the ``share`` of items that F1 has not seen whose loss is
    lower, None where too few were there to judge by, and whether it is ``unlikely`` to have made them. Nothing of
    generated queries."""
    return {
        each["picture"]: {
            "share": None if each["beyond"] is None else shorten(each["share_below"]),
            "unlikely": warn_unlikely([each]) is not None,
        }
        for each in run.summary.get("pictures", [])
    }
