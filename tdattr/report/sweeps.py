"""Runs that differ in one number alone, as curves over it: how a result, and its cost, depend on it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tdattr.experiments import experiment_key
from tdattr.report.collect import Experiment
from tdattr.report.naming import flatten, name_runs, name_variants, variant_settings
from tdattr.report.plots import draw_curves
from tdattr.report.sheets.group_agreement import PROTOCOLS, SHOWN, measure_agreement, training_steps

Values = dict[float, dict[str, dict[str, dict[str, Any]]]]
FEWEST = 3  # values that make a curve
COST = "steps of training or unlearning"


@dataclass(frozen=True)
class Sweep:
    """A setting that was swept, and the plot of every method's agreement and cost over it."""

    title: str
    plot: str


def find_sweeps(experiments: list[Experiment]) -> list[Sweep]:
    """A plot for every number that takes at least three values over runs on groups that are alike otherwise."""
    judged = [experiment for experiment in experiments if experiment.protocol in PROTOCOLS]
    return [*sweep_experiments(judged), *(sweep for experiment in judged for sweep in sweep_methods(experiment))]


def sweep_experiments(experiments: list[Experiment]) -> list[Sweep]:
    """Over the numbers of what was attributed and how it was judged, a line for every method."""
    configs = [flatten(json.loads(experiment_key(experiment.config))) for experiment in experiments]
    result = []
    for key, curved in find_families(configs):
        rests = [json.loads(rest) for rest in curved]
        for rest, indices in zip(rests, curved.values(), strict=True):
            by_value = {value: experiments[index] for value, index in indices.items()}
            experiment = next(iter(by_value.values()))
            first = experiment.first(next(iter(experiment.runs))).summary
            what = [first[name] for name in ("dataset", "model", "diffusion", "protocol")]
            what += [f"{name}={rest[name]}" for name in rest if any(other.get(name) != rest[name] for other in rests)]
            result.append(draw(key, ", ".join(what), measure(by_value)))
    return result


def sweep_methods(experiment: Experiment) -> list[Sweep]:
    """Over the numbers of the methods themselves, a line for all else that differs between them."""
    methods = experiment.unablated
    configs = [flatten(variant_settings(experiment.first(method).config)) for method in methods]
    result = []
    for key, curved in find_families(configs):
        names = name_variants([json.loads(rest) for rest in curved])
        values: Values = {value: {} for value in sorted({value for indices in curved.values() for value in indices})}
        for name, indices in zip(names, curved.values(), strict=True):
            for value, index in indices.items():
                values[value][name] = measure_with_cost(experiment, methods[index])
        owner = "protocol" if key.startswith("aggregate.") else "method"
        result.append(draw(f"{owner}.{key}", experiment.title, values))
    return result


def find_families(configs: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, dict[float, int]]]]:
    """Every key whose value is a number, with the families of configs, by what else is in them, in which it takes at
    least three values: value -> index in the list."""
    for key in dict.fromkeys(key for config in configs for key, value in config.items() if is_number(value)):
        by_rest: dict[str, dict[float, int]] = {}
        for index, config in enumerate(configs):
            if is_number(config.get(key)):
                rest = json.dumps({name: value for name, value in config.items() if name != key}, sort_keys=True)
                by_rest.setdefault(rest, {})[float(config[key])] = index
        curved = {rest: indices for rest, indices in by_rest.items() if len(indices) >= FEWEST}
        if curved:
            yield key, curved


def draw(key: str, what: str, values: Values) -> Sweep:
    """The plot, without a cost that is the same everywhere."""
    methods = [by_measure for by_method in values.values() for by_measure in by_method.values()]
    costs = {by_measure[COST]["mean"] for by_measure in methods if COST in by_measure}
    return Sweep(f"Over {key}: {what}", draw_curves(values, key, SHOWN if len(costs) == 1 else (*SHOWN, COST)))


def measure(by_value: dict[float, Experiment]) -> Values:
    """Value -> method -> measure -> mean and interval, and COST of methods that train; methods have the same names at
    all values."""
    methods = [(value, method) for value in sorted(by_value) for method in by_value[value].runs]
    names = name_runs([by_value[value].first(method).config for value, method in methods])
    result: Values = {value: {} for value in sorted(by_value)}
    for (value, method), name in zip(methods, names, strict=True):
        result[value][name] = measure_with_cost(by_value[value], method)
    return result


def measure_with_cost(experiment: Experiment, method: str) -> dict[str, dict[str, Any]]:
    """Measure -> mean and interval of a method, and COST where it trains."""
    result = measure_agreement(experiment, [method], SHOWN)[method]
    steps = training_steps(experiment.runs[method].values())
    return result if steps is None else result | {COST: dict.fromkeys(("mean", "low", "high"), steps)}


def is_number(value: object) -> bool:
    """Whether a setting is one that can be drawn along an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
