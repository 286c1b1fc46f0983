"""Runs that differ in one number alone, as curves over it: how a result, and its cost, depend on it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tdattr.report.collect import Comparison, comparison_key, flat, named, settings, variants
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
    """A plot for every number that takes at least three values over runs on groups that are alike otherwise."""
    judged = [comparison for comparison in comparisons if comparison.protocol in PROTOCOL]
    return [*over_experiments(judged), *(sweep for comparison in judged for sweep in over_methods(comparison))]


def over_experiments(comparisons: list[Comparison]) -> list[Sweep]:
    """Over the numbers of what was attributed and how it was judged, a line for every method."""
    configs = [flat(json.loads(comparison_key(comparison.config))) for comparison in comparisons]
    result = []
    for key, curved in families(configs):
        rests = [json.loads(rest) for rest in curved]
        for own, places in zip(rests, curved.values(), strict=True):
            by_value = {value: comparisons[place] for value, place in places.items()}
            comparison = next(iter(by_value.values()))
            first = comparison.first(next(iter(comparison.runs))).summary
            what = [first[name] for name in ("dataset", "model", "diffusion", "protocol")]
            what += [f"{name}={own[name]}" for name in own if any(other.get(name) != own[name] for other in rests)]
            result.append(drawn(key, ", ".join(what), measured(by_value)))
    return result


def over_methods(comparison: Comparison) -> list[Sweep]:
    """Over the numbers of the methods themselves, a line for all else that differs between them."""
    methods = comparison.unablated
    configs = [flat(settings(comparison.first(method).config)) for method in methods]
    result = []
    for key, curved in families(configs):
        names = variants([json.loads(rest) for rest in curved])
        values: Values = {value: {} for value in sorted({value for places in curved.values() for value in places})}
        for name, places in zip(names, curved.values(), strict=True):
            for value, place in places.items():
                values[value][name] = with_cost(comparison, methods[place])
        owner = "protocol" if key.startswith("aggregate.") else "method"
        result.append(drawn(f"{owner}.{key}", comparison.title, values))
    return result


def families(configs: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, dict[float, int]]]]:
    """Every key whose value is a number, with the families of configs, by what else is in them, in which it takes at
    least three values: value -> place in the list."""
    for key in dict.fromkeys(key for own in configs for key, value in own.items() if number(value)):
        found: dict[str, dict[float, int]] = {}
        for place, own in enumerate(configs):
            if number(own.get(key)):
                rest = json.dumps({name: value for name, value in own.items() if name != key}, sort_keys=True)
                found.setdefault(rest, {})[float(own[key])] = place
        curved = {rest: places for rest, places in found.items() if len(places) >= FEWEST}
        if curved:
            yield key, curved


def drawn(key: str, what: str, values: Values) -> Sweep:
    """The plot, without a cost that is the same everywhere."""
    costs = {found[COST]["mean"] for by_method in values.values() for found in by_method.values() if COST in found}
    return Sweep(f"Over {key}: {what}", curves(values, key, SHOWN if len(costs) == 1 else (*SHOWN, COST)))


def measured(by_value: dict[float, Comparison]) -> Values:
    """Value -> method -> measure -> mean and interval, and COST of methods that train; methods have the same names at
    all values."""
    places = [(value, method) for value in sorted(by_value) for method in by_value[value].runs]
    names = named([by_value[value].first(method).config for value, method in places])
    result: Values = {value: {} for value in sorted(by_value)}
    for (value, method), name in zip(places, names, strict=True):
        result[value][name] = with_cost(by_value[value], method)
    return result


def with_cost(comparison: Comparison, method: str) -> dict[str, dict[str, float]]:
    """Measure -> mean and interval of a method, and COST where it trains."""
    result = found(comparison, [method], SHOWN)[method]
    steps = training_steps(comparison.runs[method].values())
    return result if steps is None else result | {COST: dict.fromkeys(("mean", "low", "high"), steps)}


def number(value: object) -> bool:
    """Whether a setting is one that can be drawn along an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
