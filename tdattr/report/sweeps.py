"""Comparisons that differ in one number alone, as curves over it: how a result, and its cost, depend on it."""

import json
from dataclasses import dataclass

from tdattr.report.collect import Comparison, comparison_key, flat, named
from tdattr.report.plots import curves
from tdattr.report.sheets.group_agreement import PROTOCOL, SHOWN, found, training_steps

Values = dict[float, dict[str, dict[str, dict[str, float]]]]
FEWEST = 3  # values that make a curve
COST = "steps of training or unlearning"


@dataclass(frozen=True)
class Sweep:
    """A setting that was swept, and the plot of every method's agreement and cost over it."""

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
        curved = {rest: by_value for rest, by_value in families.items() if len(by_value) >= FEWEST}
        rests = [json.loads(rest) for rest in curved]
        for own, by_value in zip(rests, curved.values(), strict=True):
            comparison = next(iter(by_value.values()))
            first = comparison.first(next(iter(comparison.runs))).summary
            what = [first[name] for name in ("dataset", "model", "diffusion", "protocol")]
            what += [f"{name}={own[name]}" for name in own if any(other.get(name) != own[name] for other in rests)]
            result.append(Sweep(f"Over {key}: {', '.join(what)}", curves(measured(by_value), key, (*SHOWN, COST))))
    return result


def measured(by_value: dict[float, Comparison]) -> Values:
    """Value -> method -> measure -> mean and interval, and COST of methods that train; methods have the same names at
    all values."""
    places = [(value, method) for value in sorted(by_value) for method in by_value[value].runs]
    names = named([by_value[value].first(method).config for value, method in places])
    result: Values = {value: {} for value in sorted(by_value)}
    for (value, method), name in zip(places, names, strict=True):
        result[value][name] = found(by_value[value], [method], SHOWN)[method]
        steps = training_steps(by_value[value].runs[method].values())
        if steps is not None:
            result[value][name][COST] = dict.fromkeys(("mean", "low", "high"), steps)
    return result


def number(value: object) -> bool:
    """Whether a setting is one that can be drawn along an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
