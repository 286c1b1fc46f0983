"""Comparisons that differ in one number alone, as curves over it: how a result depends on that setting."""

import json
from dataclasses import dataclass

from tdattr.report.collect import Comparison, comparison_key, flat
from tdattr.report.plots import curves
from tdattr.report.sheets.group_agreement import PROTOCOL, SHOWN, found

FEWEST = 3  # values that make a curve


@dataclass(frozen=True)
class Sweep:
    """A setting that was swept, and the plot of every method's agreement over it."""

    title: str
    plot: str


def sweeps(comparisons: list[Comparison]) -> list[Sweep]:
    """A plot for every number that takes at least three values over comparisons on groups that are alike otherwise."""
    judged = [comparison for comparison in comparisons if comparison.protocol in PROTOCOL]
    settings = [flat(json.loads(comparison_key(comparison.config))) for comparison in judged]
    keys = dict.fromkeys(key for own in settings for key, value in own.items() if number(value))
    result = []
    for key in keys:
        families: dict[str, dict[float, Comparison]] = {}
        for comparison, own in zip(judged, settings, strict=True):
            if number(own.get(key)):
                rest = json.dumps({name: value for name, value in own.items() if name != key}, sort_keys=True)
                families.setdefault(rest, {})[float(own[key])] = comparison
        for by_value in families.values():
            if len(by_value) >= FEWEST:
                measured = {value: found(by_value[value], by_value[value].runs) for value in sorted(by_value)}
                result.append(Sweep(f"Agreement on groups over {key}", curves(measured, key, SHOWN)))
    return result


def number(value: object) -> bool:
    """Whether a setting is one that can be drawn along an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
