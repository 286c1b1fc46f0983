"""The JSON files in which diffusers describes networks and schedulers."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tdattr import tables
from tdattr.errors import UserError

SAVE_AGAIN = "save the model again with diffusers' save_pretrained"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError where the file holds none."""
    content = tables.read_json(path, SAVE_AGAIN)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object: {SAVE_AGAIN}.")
    return content


def read_defaults(cls: Any) -> dict[str, Any]:
    """The settings that one of diffusers' classes takes, each with its default; a float where any number is meant."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # without self
    return {p.name: float(p.default) if p.annotation in (float, "float") else p.default for p in parameters}


def check_kinds(path: Path, said: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise UserError where a value is of another kind than the default: a number, a text, true or false; or where a
    number stands in quotes. Nothing is said of null and of lists, which some settings take besides."""
    for key, value in said.items():
        if key.startswith("_"):  # what diffusers notes about the file
            continue
        quoted = next((part for part in flatten(value) if isinstance(part, str) and is_number(part)), None)
        if quoted is not None and kind(defaults.get(key)) != "a text":
            raise UserError(f"{path} has {key} as the text {quoted!r}, where a number must stand without quotes.")
        if None not in (kind(value), kind(defaults.get(key))):
            check_kind(path, key, value, defaults[key])


def check_kind(path: Path, key: str, value: Any, default: Any) -> None:
    """Raise UserError where a value is not of its default's kind; a whole number is a number."""
    wanted = kind(default)
    if wanted is not None and kind(value) not in (wanted, "a whole number" if wanted == "a number" else wanted):
        raise UserError(
            f"{path} has {key}={json.dumps(value)}, where {wanted} must stand, such as {json.dumps(default)}."
        )


def flatten(value: Any) -> Iterator[Any]:
    """A value, or all those in a list."""
    if isinstance(value, list):
        for part in value:
            yield from flatten(part)
    else:
        yield value


def is_number(text: str) -> bool:
    """Whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def kind(value: Any) -> str | None:
    """What a value is, as a user calls it; None for what no default tells the kind of."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    return "a text" if isinstance(value, str) else None
