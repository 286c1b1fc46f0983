"""Settings that were given and that nothing reads under the others: an error, as an effect was expected."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.methods import Method
from tdattr.pipeline.attribute import settle
from tdattr.pipeline.workspace import Workspace

log = logging.getLogger(__name__)
NOTHING = "null"  # as a value: none, no, no limit
RECIPE, READER = "dataset.recipe.", "train."  # whose values are read where they have the same name


def check_unread(ws: Workspace, overrides: Iterable[str], swept: bool = False) -> None:
    """Raise UserError for an override, as on the command line, of a setting that is not read; warn of it where the run
    is one of a sweep (``swept``), of which others may read it. What a file of the configuration sets is not looked at:
    it may be there for another choice; nor is null, which asks for nothing."""
    for path, value in list_given(overrides):
        places = [path, READER + path.removeprefix(RECIPE)] if path.startswith(RECIPE) else [path]
        for place in places:
            if (reason := why_unread(ws, place.split("."))) is not None:
                complain(f"{path}={value} has no effect with {reason}", swept)


def check_settled(ws: Workspace, methods: Mapping[str, Method], overrides: Iterable[str], swept: bool = False) -> None:
    """The same of what methods do not read once what they leave open is decided, for which the dataset must be known.
    ``methods``: by where they stand in the config."""
    for path, value in list_given(overrides):
        for place, method in methods.items():
            names = path.removeprefix(f"{place}.").split(".")
            if path.startswith(f"{place}.") and why_unread(method, names) is None:  # or it has been said
                reason = why_unread(settle(ws, method), names, f"{place}.")
                if reason is not None:
                    complain(f"{path}={value} has no effect with {reason}, which is decided for this run", swept)


def list_given(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The path and the value of every override that asks for something."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value != NOTHING:
            yield key.lstrip("+~").split("@")[-1], value  # of GROUP@PATH=CHOICE, the path


def complain(said: str, swept: bool) -> None:
    """Warn of a setting that is not read where other runs may read it; else raise UserError."""
    if not swept:
        raise UserError(f"{said}: leave it out.")
    log.warning("%s.", said)


def why_unread(parent: Any, names: list[str], before: str = "") -> str | None:
    """The setting under which the one at those names is not read; None where it is read, or not known here."""
    name, *rest = names
    if isinstance(parent, Settings) and name in parent.unread():
        return before + parent.unread()[name]
    if isinstance(parent, Mapping):
        inner = parent.get(name)
    elif is_dataclass(parent) and any(entry.name == name for entry in fields(parent)):
        inner = getattr(parent, name)
    else:
        return None
    return why_unread(inner, rest, f"{before}{name}.") if rest else None
