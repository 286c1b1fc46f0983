"""Which measures a run takes: those it names, or all whose weights are on this machine."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from tdattr.configs import build
from tdattr.errors import Unavailable, UserError
from tdattr.features import Setting
from tdattr.metrics.similarity import Measure
from tdattr.search_path import load_group

log = logging.getLogger(__name__)
AUTO = "auto"
GROUP = "measure"


def complete_measures(cfg: DictConfig, sources: Iterable[Any] | None = None) -> None:
    """Fill ``cfg.measures``, which holds what the command changes, with every measure of the group ``measure``.

    ``sources``: as in `load_group`. Doing it twice changes nothing. Raises UserError for settings of a measure that
    there is not.
    """
    fill_measures(cfg, load_group(GROUP, sources))


def fill_measures(cfg: DictConfig, options: dict[str, Any]) -> None:
    """`complete_measures` with the measures of the group."""
    content = OmegaConf.to_container(cfg.measures)
    assert isinstance(content, dict)
    given = {str(name): settings for name, settings in content.items()}
    for name, settings in given.items():
        if name not in options and not (isinstance(settings, dict) and "_target_" in settings):
            raise UserError(f"measures.{name} is a setting of no measure: choose one of {', '.join(sorted(options))}.")
    with open_dict(cfg):
        cfg.measures = {name: override(options.get(name), given.get(name, {})) for name in options | given}


def override(default: Any, given: Any) -> Any:
    """A default with the given values in place of its own; a node that names a class replaces another one whole."""
    if not (isinstance(default, dict) and isinstance(given, dict)) or "_target_" in given:
        return given
    return default | {name: override(default.get(name), value) for name, value in given.items()}


def choose_measures(metrics: Any, nodes: DictConfig, setting: Setting) -> dict[str, Measure]:
    """The measures by name. ``metrics``: a list of names in ``nodes``, or ``auto``, which fetches nothing.

    Raises UserError for an unknown name, for none at all, and where the weights of a named one are missing.
    """
    if metrics == AUTO:
        return find_available(nodes, replace(setting, download=False))
    names = list(metrics) if isinstance(metrics, (list, ListConfig)) else [metrics]
    unknown = [name for name in names if name not in nodes]
    if unknown or not names:
        wrong = f"names {unknown[0]!r}" if unknown else "is empty"
        raise UserError(f"metrics {wrong}: name some of {', '.join(sorted(nodes))}, or set metrics=auto.")
    measures = {name: build_measure(nodes, name) for name in dict.fromkeys(names)}
    for measure in measures.values():
        measure.identity_with_versions(setting)
    return measures


def find_available(nodes: DictConfig, setting: Setting) -> dict[str, Measure]:
    """All measures that can be taken without fetching anything; says which are left out and why.

    Raises UserError for a weight file that is damaged.
    """
    available: dict[str, Measure] = {}
    for name in map(str, nodes):
        measure = build_measure(nodes, name)
        try:
            measure.identity(setting)
            available[name] = measure
        except Unavailable as error:
            log.info("metrics=auto leaves out %s. %s", name, error)
    log.info("metrics=auto takes %s.", ", ".join(available))
    return available


def build_measure(nodes: DictConfig, name: str) -> Measure:
    """The measure of that name. Raises UserError for a class that is not one, and for wrong settings."""
    measure = build(nodes[name], f"measures.{name}")
    if not isinstance(measure, Measure):
        raise UserError(f"measures.{name}._target_ must name a Measure, which {type(measure).__name__} is not.")
    return measure
