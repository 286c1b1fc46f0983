"""Which measures a run takes: those it names, or all whose weights are on this machine."""

import logging
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, ListConfig

from tdattr.configs import build
from tdattr.errors import Unavailable, UserError
from tdattr.features import Setting
from tdattr.metrics.similarity import Measure

log = logging.getLogger(__name__)
AUTO = "auto"


def chosen(metrics: Any, nodes: DictConfig, setting: Setting) -> dict[str, Measure]:
    """The measures by name. ``metrics``: a list of names in ``nodes``, or ``auto``, which fetches nothing.

    Raises UserError for an unknown name, for none at all, and where the weights of a named one are missing.
    """
    if metrics == AUTO:
        return present(nodes, replace(setting, download=False))
    names = list(metrics) if isinstance(metrics, (list, ListConfig)) else [metrics]
    unknown = [name for name in names if name not in nodes]
    if unknown or not names:
        wrong = f"names {unknown[0]!r}" if unknown else "is empty"
        raise UserError(f"metrics {wrong}: name some of {', '.join(sorted(nodes))}, or set metrics=auto.")
    found = {name: build(nodes[name], f"measures.{name}") for name in dict.fromkeys(names)}
    for measure in found.values():
        measure.identity(setting)
    return found


def present(nodes: DictConfig, setting: Setting) -> dict[str, Measure]:
    """All measures that can be taken without fetching anything; says which are left out and why.

    Raises UserError for a weight file that is damaged.
    """
    found: dict[str, Measure] = {}
    for name in map(str, nodes):
        measure = build(nodes[name], f"measures.{name}")
        try:
            measure.identity(setting)
            found[name] = measure
        except Unavailable as error:
            log.info("metrics=auto leaves out %s. %s", name, error)
    log.info("metrics=auto takes %s.", ", ".join(found))
    return found
