"""The config of a command as Hydra composes it from overrides, outside of Hydra's own ``main``; without torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

from tdattr.errors import UserError
from tdattr.overrides import check_overrides, choose_loggers, compose_bare, explain
from tdattr.search_path import CONF


@dataclass(frozen=True)
class Composed:
    """``overrides``: as Hydra takes them. ``sources``: where the configs lie, as `tdattr.search_path.load_group` takes
    them."""

    cfg: DictConfig
    overrides: list[str]
    sources: Sequence[Any]


def compose_command(overrides: Iterable[str]) -> Composed:
    """The config of ``tdattr`` with those overrides. Raises UserError for what cannot be composed."""
    given = choose_loggers(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            cfg = compose("config", given, return_hydra_config=True)
        except (HydraException, ValueError, TypeError) as error:
            raise UserError(explain(error, given, "config")) from error
        check_overrides(cfg, cfg.hydra, compose_bare(cfg.hydra))
        sources = cfg.hydra.runtime.config_sources
        with open_dict(cfg):
            del cfg["hydra"]
    return Composed(cfg, given, sources)
