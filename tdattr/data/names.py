"""What items are called: names that every table can hold, the same however a file system spells them."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from tdattr.errors import UserError
from tdattr.tables import DataFrame

FIELD = "name"  # of the items of a dataset whose files have names; no two items have the same
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NUMBER = re.compile(r"-?[0-9]+")


def show_name(path: str | PurePath) -> str:
    """A path as tables and messages show it, with / between its parts: composed (NFC), and with escapes such as
    ``\\xe9`` for bytes that are not UTF-8 and for control characters."""
    text = path.as_posix() if isinstance(path, PurePath) else path
    if text.isascii() and text.isprintable():
        return text
    return compose(CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", show_bytes(text)))


def show_bytes(text: str) -> str:
    """Text that may come from the name of a file, with escapes such as ``\\xe9`` for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def compose(name: str) -> str:
    """A name with composed letters (NFC), as which names are compared: some systems take letters and accents apart."""
    return unicodedata.normalize("NFC", name)


def number_names(items: DataFrame) -> Mapping[str, int]:
    """The id of every item that has a name of its own, by that name; none where the dataset has no names."""
    if FIELD not in items:
        return {}
    names = items[FIELD].map(compose)
    single = ~names.duplicated(keep=False)
    return dict(zip(names[single].tolist(), items["id"][single].tolist(), strict=True))


def find_id(by_name: Mapping[str, int], item: int | str, place: str) -> int:
    """The id of an item that is given by its id or its name. Raises UserError for an unknown name; ``place``: where it
    was given."""
    if isinstance(item, int) or NUMBER.fullmatch(item):
        return int(item)
    if compose(item) in by_name:
        return by_name[compose(item)]
    known = f"names are such as {next(iter(by_name))}" if by_name else "the items of this dataset have no names"
    raise UserError(f"{place} has {item!r}, which is no training item: give its id or its name ({known}).")


def call_query(row: Mapping[Any, Any], number: int, told: str | None, brought: bool) -> str:
    """What is said of a query, a ``row`` of a queries' table: its file, if it is ``brought`` by the user; what the
    model was told of it, which is the ``prompt`` or the ``condition`` (``told``; None: nothing), by its prompt or the
    item that its condition is from; else its number."""
    words = [row[FIELD]] if brought and FIELD in row else []  # of a generated one the name is an item's
    if told is not None and row.get("prompt"):
        words.append(f"{told}: {row['prompt']}")
    elif told is not None and not brought and row.get(FIELD):
        words.append(f"{told} of {row[FIELD]}")
    return ", ".join(words) or f"query {number}"


def describe_item(row: Mapping[Any, Any]) -> str:
    """What is said of an item: its file where that is known, and its prompt or all else but its id."""
    words = [row[key] for key in (FIELD, "prompt") if row.get(key)]
    if not row.get("prompt"):
        words += [str(value) for key, value in row.items() if key not in ("id", FIELD)]
    return ", ".join(words)
