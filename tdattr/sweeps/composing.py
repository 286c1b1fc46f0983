"""The configs of many jobs: composed once for each combination of choices, as values are set after composing."""

from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from tdattr.identity import IRRELEVANT, UNDEFINED, digest, plain
from tdattr.overrides import parse

Plain = dict[str, Any]


class Composer:
    """Checks and identifies the jobs of a sweep, whose config is ``master``; a thousand jobs take seconds."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parsed: dict[str, Override] = {}
        self.composed: dict[tuple[str, ...], tuple[Plain, Plain] | None] = {}
        self.choices = set(map(str, master.hydra.runtime.choices))
        self.plans: set[bool] = set()  # what the jobs say of ``plan``
        self.needs: list[Plain] = []  # what they say of the place that they need: `launch.Needs`

    def check(self, jobs: Iterable[Sequence[str]]) -> None:
        """Compose what has not been composed. Raises Hydra's exception for a job that cannot be."""
        for overrides in jobs:
            self.fill(overrides)

    def identify(self, overrides: Sequence[str]) -> str | None:
        """What `identity.identify` says of the job's config, without composing it where only values are its own."""
        configs = self.fill(overrides)
        try:
            return None if configs is None else digest(*configs)
        except UNDEFINED:
            return None

    def fill(self, overrides: Sequence[str]) -> tuple[Plain, Plain] | None:
        """The job's config as it is written and resolved (see `plain`); None where it cannot be resolved."""
        for text in overrides:
            if text not in self.parsed:
                self.parsed[text] = parse(text)
        values = [text for text in overrides if self.is_value(self.parsed[text])]
        base = self.compose(tuple(text for text in overrides if text not in values))
        if base is None:
            return None
        written, resolved = base
        for text in values:
            names, value = self.parsed[text].key_or_group.split("."), self.parsed[text].value()
            if not (has(written, names) and has(resolved, names)):
                return self.compose(tuple(overrides))  # as something else, or to hear from Hydra what is wrong
            written, resolved = put(written, names, value), put(resolved, names, value)
        return written, resolved

    def is_value(self, override: Override) -> bool:
        """Whether an override sets a value that is there, and decides nothing else: no choice of a group, nothing that
        is added or deleted, and nothing that other values may be made of."""
        key, value = override.key_or_group, override.value()
        top = key.partition(".")[0]
        if override.is_delete() or override.is_add() or override.is_force_add() or override.package is not None:
            return False
        if key in self.choices or "/" in key or isinstance(value, dict) or "$" in str(value):
            return False
        return top not in (*IRRELEVANT, "hydra") and ("." in key or key in self.master)

    def compose(self, overrides: tuple[str, ...]) -> tuple[Plain, Plain] | None:
        """The config of these overrides alone."""
        if overrides not in self.composed:
            cfg = self.loader.load_sweep_config(self.master, list(overrides))
            self.plans.add(bool(cfg.plan))
            try:
                self.needs.append(read_needs(cfg))
                self.composed[overrides] = plain(cfg)
            except UNDEFINED:
                self.composed[overrides] = None
        return self.composed[overrides]


def read_needs(cfg: DictConfig) -> Plain:
    """What a job's config says of the place that it needs."""
    return {"workers": cfg.workers, "trainer": {name: cfg.trainer[name] for name in ("devices", "accelerator")}}


def has(config: Any, names: Sequence[str]) -> bool:
    """Whether there is a value, and no further names, under a dotted name."""
    for name in names:
        if not isinstance(config, dict) or name not in config:
            return False
        config = config[name]
    return not isinstance(config, dict)


def put(config: Plain, names: Sequence[str], value: Any) -> Plain:
    """The same with another value under a dotted name; what does not change is shared."""
    first, *rest = names
    return config | {first: put(config[first], rest, value) if rest else value}
