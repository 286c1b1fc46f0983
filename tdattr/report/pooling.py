"""The numbers of several runs as one: pooled over seeds, or a mean of independent means."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from tdattr.report.collect import Experiment


def pool(
    experiment: Experiment, method: str, measure: str, role: str, seeds: Collection[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A method's similarities and those after random removal, over all its seeds or those given."""
    runs = experiment.runs[method]
    tables = [runs[seed].by_role.get(role) for seed in sorted(runs if seeds is None else seeds)]
    columns = [[table[name] for table in tables if table is not None] for name in (measure, f"{measure}_random")]
    own, random = (np.concatenate(column) if column else np.array([]) for column in columns)
    return own, random


def p_value_against(experiment: Experiment, method: str, other: str, measure: str) -> float | None:
    """One-tailed p that a method's similarities lie below another method's, over the seeds that both were run with."""
    seeds = experiment.runs[method].keys() & experiment.runs[other].keys()
    if not seeds:
        return None
    values = [pool(experiment, name, measure, "attributed", seeds)[0] for name in (method, other)]
    return float(mannwhitneyu(values[1], values[0], alternative="greater").pvalue)


def mean_or_none(values: Iterable[float | None]) -> float | None:
    """Their mean, or None where one is missing or there are none."""
    present = list(values)
    complete = [value for value in present if value is not None]
    return float(np.mean(complete)) if complete and len(complete) == len(present) else None


def spread_or_none(halves: Iterable[float | None]) -> float | None:
    """Half the interval of a mean of independent means, from the halves of theirs; None where one is missing."""
    present = list(halves)
    complete = [half for half in present if half is not None]
    return math.hypot(*complete) / len(complete) if complete and len(complete) == len(present) else None


def pool_intervals(entries: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """``mean``, ``low`` and ``high`` of the mean of independent means, which have the same three; of a single one, just
    what it has. There is no interval, but None, where one of them has none."""
    mean = float(np.mean([entry["mean"] for entry in entries]))
    if any(entry["low"] is None or entry["high"] is None for entry in entries):
        return {"mean": mean, "low": None, "high": None}
    below = math.hypot(*(entry["mean"] - entry["low"] for entry in entries)) / len(entries)
    above = math.hypot(*(entry["high"] - entry["mean"] for entry in entries)) / len(entries)
    return {"mean": mean, "low": mean - below, "high": mean + above}
