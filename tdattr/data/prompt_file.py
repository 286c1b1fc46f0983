"""Files of prompts that users bring for queries: one a line, or JSON lines."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.tables import read_json_lines, read_lines

SUFFIXES = (".jsonl", ".json", ".ndjson")  # of files of JSON lines; others have a prompt on each line
KEY = "prompt"
REMEDY = 'write a prompt on each line or, in a .jsonl file, JSON with the key "prompt" and any others'


def read_prompt_file(path: Path, where: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The prompts in their order, each with the other values of its line, of which lists are joined by commas.

    ``where``: only lines whose values of these keys are among those. Raises UserError where the file is missing, a line
    holds no prompt, none has one of the values, or no line is left.
    """
    if not path.is_file():
        raise UserError(f"queries.prompts: {path} does not exist: {REMEDY}.")
    if path.suffix.lower() in SUFFIXES:
        rows = [read_row(line, f"{path}, line {number},") for number, line in read_json_lines(path, REMEDY)]
        empty = [number for number, line in enumerate(read_lines(path, REMEDY), 1) if not line.strip()]
    else:
        lines = read_lines(path, REMEDY)
        rows = [{KEY: line.strip()} for line in lines]
        empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise UserError(f"{path}, line {empty[0]}, is empty: take it out, or {REMEDY}.")
    for key, values in where.items():
        known = {row[key] for row in rows if key in row}
        if not known:
            keys = ", ".join(dict.fromkeys(key for row in rows for key in row))
            raise UserError(f"queries.where names {key}, which no line of {path} has: choose one of {keys}.")
        for value in values:
            if value not in known:
                meant = get_close_matches(value, known, 1)
                hint = f"did you mean {meant[0]!r}?" if meant else f"choose among {', '.join(sorted(known))}."
                raise UserError(f"queries.where names the {key} {value!r}, which no line of {path} has: {hint}")
    chosen = [row for row in rows if all(row.get(key) in values for key, values in where.items())]
    if not chosen:
        raise UserError(f"{path} holds no prompt{' that queries.where leaves' if where else ''}: {REMEDY}.")
    return chosen


def read_row(line: Any, place: str) -> dict[str, str]:
    """The texts of a line. Raises UserError where none of them is a prompt."""
    if not isinstance(line, dict) or not isinstance(line.get(KEY), str) or not line[KEY].strip():
        raise UserError(f"{place} holds no prompt: {REMEDY}.")
    values = {str(key): ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in line.items()}
    return {key: " ".join(str(value).split()) for key, value in values.items()}
