"""Text files that users or artifacts bring: one strict reader for tables, lists and JSON, and the writer of tables.

All files are UTF-8, with or without a byte order mark. Whatever is wrong is a UserError that names the file, the line
where there is one, and ends in the caller's ``remedy``: what to do about it.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tdattr.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame as DataFrame
else:
    DataFrame = Any  # pandas takes a quarter of a second to import, and most mistakes are found before a table is read

REBUILD = "delete its folder and run the command again to rebuild it"  # the remedy for a file of an artifact
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet computes
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
csv.field_size_limit(2**31 - 1)  # a long caption is no damage


class Row(NamedTuple):
    """A row of a table: the line of the file that it begins in, and its cells by column."""

    line: int
    cells: dict[str, str]


def read_text(path: Path, remedy: str) -> str:
    """The text of a file, its line ends as they are. Raises UserError where it cannot be read or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}, is not UTF-8 text: {remedy}.") from error


def read_lines(path: Path, remedy: str) -> list[str]:
    """The lines of a file without their ends; only these end a line, no other separator of Unicode does."""
    lines = read_text(path, remedy).split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds. Raises UserError where it is none, an object has a key twice, or text cannot be
    encoded."""
    return parse_json(read_text(path, remedy), str(path), remedy)


def read_json_lines(path: Path, remedy: str) -> Iterator[tuple[int, Any]]:
    """The number and the content of every line that is not empty, each of them JSON. Raises UserError as
    ``read_json``."""
    for number, line in enumerate(read_lines(path, remedy), start=1):
        if line.strip():
            yield number, parse_json(line, f"{path}, line {number},", remedy)


def parse_json(text: str, place: str, remedy: str) -> Any:
    """The content of some JSON; ``place``: where it stands, for messages."""
    try:
        content = json.loads(text, object_pairs_hook=unique)
        if ESCAPED_SURROGATE.search(text):  # halves of characters, which no file can hold
            json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = "" if place.endswith(",") else f", line {error.lineno},"
        raise UserError(f"{place}{line} is not JSON ({error.msg}): {remedy}.") from error
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise UserError(f"{place} has half a character, {half}: {remedy}.") from error
    except ValueError as error:
        raise UserError(f"{place} {error}: {remedy}.") from error
    except RecursionError as error:
        raise UserError(f"{place} is nested too deeply: {remedy}.") from error
    return content


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError where a key stands in it twice, of which Python would drop one."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return content


def read_rows(path: Path, columns: Sequence[str], remedy: str) -> list[Row]:
    """The rows of a table with a heading, every cell as it is written; tabs separate the cells of a file that ends in
    .tsv, commas those of others. Empty lines do not count.

    Raises UserError where one of ``columns`` is missing, a column stands twice, a row has more or fewer cells than the
    heading, or a quotation does not end.
    """
    heading, rows = parse_table(read_text(path, remedy), path, remedy)
    missing = [name for name in columns if name not in heading]
    if missing:
        there = ", ".join(heading) or "nothing"
        raise UserError(f"{path} has no column {missing[0]}, its first line holds {there}: {remedy}.")
    return [Row(line, dict(zip(heading, cells, strict=True))) for line, cells in rows]


def read_frame(path: Path, remedy: str = REBUILD) -> DataFrame:
    """A table with a heading, every cell as it is written. Raises UserError as ``read_rows``."""
    import pandas as pd

    text = read_text(path, remedy)
    heading: list[str] = []
    for _, cells in iterate_rows(text, path, remedy):  # pandas reads faster, but is not strict
        heading = heading or cells
    if not heading:
        return pd.DataFrame()
    source = StringIO(text, newline="")
    return pd.read_csv(source, sep=separator(path), names=heading, header=0, dtype=str, keep_default_na=False)


def parse_table(text: str, path: Path, remedy: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The heading and the rows of a table, each row with the line that it begins in; see ``read_rows``."""
    rows = list(iterate_rows(text, path, remedy))
    return (rows[0][1], rows[1:]) if rows else ([], [])


def iterate_rows(text: str, path: Path, remedy: str) -> Iterator[tuple[int, list[str]]]:
    """The heading, then the rows, each with the line that it begins in; see ``read_rows``."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator(path), strict=True)
    heading: list[str] = []
    line = 1
    try:
        for cells in reader:
            if cells and not heading:
                heading = cells
                if len(set(heading)) < len(heading):
                    raise csv.Error("has a column twice")
            if cells and len(cells) != len(heading):
                raise csv.Error(f"has {len(cells)} cells instead of {len(heading)}")
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        said = str(error) if str(error).startswith("has ") else f"is no row of a table ({error})"
        raise UserError(f"{path}, line {line}, {said}: {remedy}.") from error


def separator(path: Path) -> str:
    """What separates the cells of a table."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def write_table(path: Path, table: DataFrame) -> None:
    """A table with a heading that ``read_table`` reads back with its types: text is quoted, a number is not, and what
    is missing is nan."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow([str(name) for name in table.columns])
        writer.writerows([written(value) for value in row] for row in table.itertuples(index=False))


def written(value: Any) -> Any:
    """A cell as the writer takes it: a number, or text."""
    if value is None:
        return math.nan
    return value if isinstance(value, Real) and not isinstance(value, bool) else str(value)


def read_table(path: Path, texts: Sequence[str] = ()) -> DataFrame:
    """A table of an artifact. Raises UserError where it is damaged.

    What ``write_table`` wrote comes back as it was. Other tables quote no headings: a column whose cells all are
    numbers, or empty, holds numbers, unless it is one of ``texts``.
    """
    import pandas as pd

    text = read_text(path, REBUILD)
    heading, rows = parse_table(text, path, REBUILD)
    by_column = list(zip(*(cells for _, cells in rows), strict=True))
    columns = dict(zip(heading, by_column or [()] * len(heading), strict=True))
    if not text.startswith('"'):
        numeric = {name: name not in texts and all(map(is_number, cells)) for name, cells in columns.items()}
        return pd.DataFrame(
            {name: [number(cell) if numeric[name] else cell for cell in cells] for name, cells in columns.items()}
        )
    try:
        typed = list(csv.reader(StringIO(text, newline=""), quoting=csv.QUOTE_NONNUMERIC))[1:]
    except ValueError as error:
        raise UserError(f"{path} has a cell without quotes that is not a number ({error}): {REBUILD}.") from error
    cells = [
        [cell if isinstance(value, str) else number(cell) for value, cell in zip(values, row, strict=True)]
        for values, (_, row) in zip([row for row in typed if row], rows, strict=True)
    ]
    return pd.DataFrame(cells, columns=heading)


def number(cell: str) -> float:
    """A whole number or another one; nothing is nan. Raises ValueError for anything else."""
    return int(cell) if cell.removeprefix("-").isdigit() else float(cell or "nan")


def is_number(cell: str) -> bool:
    """Whether ``number`` reads it."""
    try:
        number(cell)
    except ValueError:
        return False
    return True


def quote_formula(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula behind an apostrophe; anything else as it is. For tables that
    people open; what tdattr itself reads back is written as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
