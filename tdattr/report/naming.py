"""What runs are called by their settings: a method's own name, and what its namesakes do otherwise."""

from collections import Counter
from itertools import combinations
from typing import Any

from tdattr.experiments import read_scoring_precision
from tdattr.scoring.describe import READ_BY

NAMED = ("dataset.name", "model.name", "diffusion.name", "protocol.name")  # what a title says anyway
ALLOCATION = "all"  # of the losses that scores were made from before it was a setting
MOST_DIFFERENCES = 4  # settings that a title names


def name_runs(configs: list[dict[str, Any]]) -> list[str]:
    """A name for each run by its config: that of the method's variant, and the ablation where it is one."""
    names: dict[int, str] = {}
    for ablation in {config.get("ablation") for config in configs}:
        indices = [index for index, config in enumerate(configs) if config.get("ablation") == ablation]
        variants = name_variants([variant_settings(configs[index]) for index in indices])
        names |= {i: f"{name}: {ablation}" if ablation else name for i, name in zip(indices, variants, strict=True)}
    return [names[index] for index in range(len(configs))]


def variant_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What makes a method's variant: its own settings, the precision of its scores, and how scores of items become
    scores of groups."""
    aggregate = config.get("protocol", {}).get("aggregate")
    precision = {"trainer": {"scoring_precision": read_scoring_precision(config)}}
    return complete_score(config["method"]) | precision | ({} if aggregate is None else {"aggregate": aggregate})


def complete_score(method: dict[str, Any]) -> dict[str, Any]:
    """A method's settings, in which the scores of an older version, and an ensemble's members', have the allocation
    that they were made by, and without what that does not read."""
    completed = dict(method)
    if isinstance(score := method.get("score"), dict):
        allocation = score.get("allocation", ALLOCATION)
        read = {name: value for name, value in score.items() if READ_BY.get(name, allocation) == allocation}
        completed["score"] = read | {"allocation": allocation}
    if isinstance(members := method.get("members"), dict):
        completed["members"] = {name: complete_score(member) for name, member in members.items()}
    return completed


def name_variants(configs: list[dict[str, Any]]) -> list[str]:
    """A name for each method config: its own name, and the settings in which its namesakes differ.

    A value that more than half of the namesakes have goes without saying (`tell_usual`).
    """
    names: dict[int, str] = {}
    for name in dict.fromkeys(config["name"] for config in configs):
        indices = [index for index, config in enumerate(configs) if config["name"] == name]
        namesakes = complete_alike([configs[index] for index in indices])
        usual = find_usual(namesakes)
        for index, shown in zip(indices, namesakes, strict=True):
            unusual = [f"{key}={value}" for key, value in shown.items() if key not in usual or usual[key] != value]
            names[index] = " ".join([name, *unusual])
    return [names[index] for index in range(len(configs))]


def tell_usual(configs: list[dict[str, Any]]) -> list[str]:
    """What the names of runs leave out: for each method of which there are variants, the values that more than half of
    its runs have and the others do not. Ablations have names of their own."""
    said = []
    variants = [variant_settings(config) for config in configs if not config.get("ablation")]
    for name in dict.fromkeys(config["name"] for config in variants):
        namesakes = complete_alike([config for config in variants if config["name"] == name])
        usual = find_usual(namesakes)
        varied = [f"{key}={value}" for key, value in usual.items() if any(one[key] != value for one in namesakes)]
        if varied:
            said.append(f"{name} has {' '.join(varied)} where its name says nothing else.")
    return said


def complete_alike(namesakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Their settings under dotted names, every one in all of them: some have what others lack. Lists are texts."""
    flattened = flatten_alike(namesakes)
    keys = dict.fromkeys(key for config in flattened for key in config)
    full = [{key: config.get(key, "none") for key in keys} for config in flattened]
    return [{key: str(value) if isinstance(value, list) else value for key, value in one.items()} for one in full]


def find_usual(namesakes: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each of their settings the value that more than half of them have, where there is one."""
    usual = {}
    for key in namesakes[0]:
        [(value, count)] = Counter(config[key] for config in namesakes).most_common(1)
        if 2 * count > len(namesakes):
            usual[key] = value
    return usual


def flatten_alike(configs: list[dict[str, Any]], prefix: str = "") -> list[dict[str, Any]]:
    """Nested settings of several configs under dotted names; a component that is not the same in all of them stands for
    its settings by its name."""
    flattened: list[dict[str, Any]] = [{} for _ in configs]
    for key in dict.fromkeys(key for config in configs for key in config):
        nested = [value for value in (config.get(key) for config in configs) if isinstance(value, dict)]
        if len(nested) == len(configs) and len({value.get("_target_") for value in nested}) == 1:
            for result, part in zip(flattened, flatten_alike(nested, f"{prefix}{key}."), strict=True):
                result |= part
        else:
            for result, config in zip(flattened, configs, strict=True):
                if key in config:
                    result[f"{prefix}{key}"] = name_component(config[key])
    return flattened


def name_component(value: Any) -> Any:
    """A component by its name or class; any other value as a command line has it."""
    if not isinstance(value, dict):
        return show_value(value)
    return value.get("name") or str(value.get("_target_", "settings")).rsplit(".", 1)[-1]


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        result |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return result


def show_value(value: Any) -> Any:
    """A value as a command line has it: ``null`` and ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else value


def tell_apart(settings: list[dict[str, Any]]) -> list[list[str]]:
    """For each of several flattened configs, those of its settings that differ among all of which a title says the same
    anyway: as many as tell them apart, the first few at least, and an ellipsis where there are more."""
    titled = [tuple(show_value(values.get(key)) for key in NAMED) for values in settings]
    needed = {}
    for title in dict.fromkeys(titled):
        alike = [values for values, other in zip(settings, titled, strict=True) if other == title]
        keys = dict.fromkeys(key for values in alike for key in values)
        differing = [key for key in keys if any(other.get(key) != alike[0].get(key) for other in alike)]
        needed[title] = differing, find_distinguishing(alike, differing)
    told = []
    for values, title in zip(settings, titled, strict=True):
        differing, distinguishing = needed[title]
        others = [key for key in differing if key not in distinguishing]
        chosen = {*distinguishing, *others[: max(0, MOST_DIFFERENCES - len(distinguishing))]}
        shown = [f"{key}={show_value(values[key])}" for key in differing if key in chosen and key in values]
        more = shown and any(key in values and key not in chosen for key in differing)
        told.append([*shown[:-1], f"{shown[-1]} …"] if more else shown)
    return told


def find_distinguishing(configs: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """A few of the keys, by whose values the configs can be told apart as well as by all: always the one that leaves
    the fewest pairs alike."""
    found: list[str] = []
    pairs = [pair for pair in combinations(configs, 2) if any(pair[0].get(key) != pair[1].get(key) for key in keys)]
    while pairs:
        left = {key: [pair for pair in pairs if pair[0].get(key) == pair[1].get(key)] for key in keys}
        found.append(min(keys, key=lambda key: len(left[key])))
        pairs = left[found[-1]]
    return found
