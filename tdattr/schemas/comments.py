"""The comments of YAML files, by the keys that they stand beside."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Names = tuple[str, ...]


def read_comments(path: Path) -> dict[Names, str]:
    """What is said of each key of a file, by the names that lead to it: the comment behind its value, or behind the key
    where its value is a group, after the lines of comments directly above. A file's first lines are its own."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        names: comment
        for names, key, last in walk(yaml.compose(text, yaml.SafeLoader), ())
        if (comment := describe(lines, key, last))
    }


def walk(node: Any, names: Names) -> Iterator[tuple[Names, int, int]]:
    """Of every key inside of a node its names, its line, and the last line of its value (its own where that is a
    group); lines count from 0."""
    for key, value in node.value if is_group(node) else []:
        line = key.start_mark.line
        yield (*names, key.value), line, line if is_group(value) else value.end_mark.line
        yield from walk(value, (*names, key.value))


def is_group(node: Any) -> bool:
    """Whether a node has keys with a line each."""
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def describe(lines: list[str], key: int, last: int) -> str:
    """The comment of a key in that line whose value ends in line ``last``."""
    above = key
    while above and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    before = " ".join(line.strip(" #") for line in lines[above:key]) if above else ""
    beside = behind(lines[min(last, len(lines) - 1)]).strip(" #")
    return "; ".join(part for part in (before, beside) if part)


def behind(line: str) -> str:
    """The comment at the end of a line; a # inside of quotes begins none."""
    quote = ""
    for index, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and line[:index].rstrip()[-1:] in (":", "[", ",", "{", "-"):
            quote = sign
        elif sign == "#" and line[:index].endswith(" "):
            return line[index:]
    return ""
