"""Settings that were given and that nothing reads under the others: an error, as an effect was expected."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.pipeline.workspace import Workspace

log = logging.getLogger(__name__)
NOTHING = "null"  # as a value: none, no, no limit
RECIPE, READER = "dataset.recipe.", "train."  # whose values are read where they have the same name


def check_unread(ws: Workspace, overrides: Iterable[str], swept: bool = False) -> None:
    """Raise UserError for an override, as on the command line, of a setting that is not read; warn of it where the run
    is one of a sweep (``swept``), of which others may read it. What a file of the configuration sets is not looked at:
    it may be there for another choice; nor is null, which asks for nothing."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value == NOTHING:
            continue
        path = key.lstrip("+~").split("@")[-1]  # of GROUP@PATH=CHOICE, the path
        places = [path, READER + path.removeprefix(RECIPE)] if path.startswith(RECIPE) else [path]
        for place in places:
            reason = why_unread(ws, place.split("."))
            if reason is not None and swept:
                log.warning("%s=%s has no effect with %s.", path, value, reason)
            elif reason is not None:
                raise UserError(f"{path}={value} has no effect with {reason}: leave it out.")


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
