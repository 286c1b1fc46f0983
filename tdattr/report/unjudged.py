"""Runs that ended before a verdict (``until``) and left accuracies, which no table of a protocol has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.experiments import experiment_key, name_experiment
from tdattr.report.arguments import ACCURACY
from tdattr.report.collect import UNREADABLE, describe_error, list_unjudged, read_config
from tdattr.report.naming import flatten, name_runs, tell_apart, tell_usual
from tdattr.report.sheet import Sheet
from tdattr.report.sheets import accuracies, accuracies_of_groups


@dataclass(frozen=True)
class Unjudged:
    """Those under one set of settings."""

    title: str
    slug: str  # a name for the folder of the tables
    config: dict[str, Any]  # of the newest
    sheets: list[Sheet]
    usual: tuple[str, ...] = ()  # what the names of the methods leave out


def find_unjudged(folders: list[Path]) -> tuple[list[Unjudged], dict[Path, str]]:
    """Such runs below these folders, the newest of each (settings, method, seed) and the newest settings last; and the
    folders of those that cannot be read, with the reason."""
    by_key: dict[str, list[tuple[dict[str, Any], Mapping[str, Any]]]] = {}
    left_out = {}
    for folder in list_unjudged(folders):
        try:
            config = read_config(folder)
            accuracy = json.loads((folder / ACCURACY).read_text())
            name_runs([config]), name_experiment(config), config["seed"]
            make_sheets({"method": [accuracy]})
            key = experiment_key(config)
        except UNREADABLE as error:
            left_out[folder] = describe_error(error)
        else:
            by_key[key] = [*by_key.pop(key, []), (config, accuracy)]
    differences = tell_apart([flatten(json.loads(key)) for key in by_key])
    return [bring_together(runs, told) for runs, told in zip(by_key.values(), differences, strict=True)], left_out


def bring_together(runs: list[tuple[dict[str, Any], Mapping[str, Any]]], differences: list[str]) -> Unjudged:
    """The config and the accuracies of each run as one, whose title says the ``differences`` from others."""
    configs = [config for config, _ in runs]
    names = name_runs(configs)
    newest = {(name, config["seed"]): accuracy for name, (config, accuracy) in zip(names, runs, strict=True)}
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for (name, _), accuracy in newest.items():
        by_method.setdefault(name, []).append(accuracy)
    config = runs[-1][0]
    seeds = len({config["seed"] for config, _ in runs})
    what = ", ".join(config[node]["name"] for node in ("dataset", "model", "diffusion"))
    title = ", ".join([f"{what}: accuracies, no verdict", f"{seeds} seed{'s' * (seeds > 1)}", *differences])
    slug = f"{name_experiment(config)}-accuracies"
    return Unjudged(title, slug, config, make_sheets(by_method), tuple(tell_usual(configs)))


def make_sheets(by_method: Mapping[str, list[Mapping[str, Any]]]) -> list[Sheet]:
    """The tables of what runs found, by their method."""
    makers = (accuracies.tabulate, accuracies_of_groups.tabulate)
    return [sheet for sheet in (make(by_method) for make in makers) if sheet is not None]
