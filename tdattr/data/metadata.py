"""A table of what is known of images, as Hugging Face's imagefolder has it: metadata.csv, .jsonl or .parquet."""

import datetime
import decimal
import json
import logging
import math
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.data.names import show_name
from tdattr.errors import UserError
from tdattr.tables import read_json_lines, read_rows
from tdattr.wording import counted

log = logging.getLogger(__name__)
KEY = "file_name"  # the column that says which image a row is about
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CAPTIONS = ("text", "caption", "prompt")  # the columns of captions: of these the first that is there
OWN = ("id", "group", "name")  # what items have whatever the metadata hold
PREFIX = "metadata_"  # of a column that is called as one of these, or like a prompt
REMEDY = f"write a table with the column {KEY} (paths such as cats/1.png), or set dataset.source.metadata=null"
PLAIN = (str, bool, int, float, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, type(None))


@dataclass(frozen=True)
class Metadata:
    """What is known of every image, by its name: its ``fields`` and, where there are any, its caption."""

    fields: dict[str, dict[str, str]]
    captions: dict[str, str] | None


def choose_tables(found: Iterable[str], root: Path) -> list[str]:
    """Those of the tables that were found below ``root``, which is all of them. Raises UserError where a folder has
    two."""
    by_folder: dict[str, str] = {}
    for name in found:
        folder, last = posixpath.split(name)
        if folder in by_folder:
            other = posixpath.basename(by_folder[folder])
            raise UserError(
                f"{root / folder} has {other} and {last}: remove one, or set dataset.source.metadata=<file>."
            )
        by_folder[folder] = name
    return list(by_folder.values())


def read_metadata(tables: Mapping[Path, str], names: Iterable[str], caption: str | None) -> Metadata:
    """The metadata of the images with these names. ``tables``: each file, and the folder below the root that its paths
    begin in ("" for the root itself); ``caption``: ``auto``, the column of captions, or None.

    A column of lists, objects or bytes is left out, which is logged, as are the fields. Raises UserError for a file
    that is no such table, an image that has no row or two, a row without an image, and a column that is not there.
    """
    rows: dict[str, dict[str, Any]] = {}
    wanted = dict.fromkeys(names)
    for path, folder in tables.items():
        for place, values in list_rows(path):
            if not isinstance(values.get(KEY), str) or not values[KEY]:
                raise UserError(f"{place} has no text in the column {KEY}: {REMEDY}.")
            name = show_name(posixpath.normpath(posixpath.join(folder, values[KEY])))
            name = name if name in wanted else name.replace("\\", "/")  # as Windows writes paths
            if name in rows:
                raise UserError(f"{place} is a second row for {name}: remove one.")
            rows[name] = values
    said = ", ".join(map(str, tables))
    check_rows(rows, wanted, said)
    columns = [
        name for name in dict.fromkeys(name for values in rows.values() for name in values) if name not in ("", KEY)
    ]
    nested = {name for name in columns if not all(isinstance(values.get(name), PLAIN) for values in rows.values())}
    texts = [name for name in columns if name not in nested]
    column = choose_caption(caption, texts, said)
    fields = rename([name for name in texts if name != column], said)
    log.info(
        "%s: %s, captions from %s%s", said, f"fields {', '.join(fields.values())}" if fields else "no fields",
        column or "no column", f"; left out: {', '.join(sorted(nested))} (lists or objects)" if nested else "",
    )  # fmt: skip
    return Metadata(
        {name: {new: write(values.get(old)) for old, new in fields.items()} for name, values in rows.items()},
        None if column is None else {name: write(values.get(column)) for name, values in rows.items()},
    )


def check_rows(rows: Mapping[str, object], wanted: Mapping[str, object], said: str) -> None:
    """Every image has its row, and every row its image."""
    if bare := [name for name in wanted if name not in rows]:
        raise UserError(
            f"{said} has no row for {counted(len(bare), 'image')}, first {bare[0]}: add what is missing, or set "
            "dataset.source.metadata=null."
        )
    if extra := [name for name in rows if name not in wanted]:
        raise UserError(
            f"{said} has {counted(len(extra), 'row')} without an image in dataset.source.root, first {extra[0]}: mend "
            f"the column {KEY} (paths as from the table's own folder), or remove what is too much."
        )


def choose_caption(wanted: str | None, columns: list[str], said: str) -> str | None:
    """The column of captions. Raises UserError where the one that is wanted is not there."""
    if wanted == "auto":
        return next((name for name in CAPTIONS if name in columns), None)
    if wanted is not None and wanted not in columns:
        there = ", ".join(columns) or "none"
        raise UserError(f"dataset.source.caption_column={wanted} is no column of texts in {said}: there are {there}.")
    return wanted


def rename(columns: list[str], said: str) -> dict[str, str]:
    """The name of the field that each column becomes. Raises UserError where two become one."""
    fields = {name: f"{PREFIX}{name}" if name in OWN or name.startswith("prompt") else name for name in columns}
    taken: set[str] = set()
    for name, new in fields.items():
        if new in taken:
            raise UserError(f"{said} has the columns {name} and {new}, of which both become {new}: rename one.")
        taken.add(new)
    return fields


def list_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, each with where it stands. Raises UserError for what is none."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        for row in read_rows(path, [KEY], REMEDY):
            yield f"{path}, line {row.line},", row.cells
    elif suffix == ".jsonl":
        for number, values in read_json_lines(path, REMEDY):
            if not isinstance(values, dict):
                raise UserError(f"{path}, line {number}, holds no JSON object: {REMEDY}.")
            yield f"{path}, line {number},", values
    elif suffix == ".parquet":
        for number, values in enumerate(read_parquet(path), start=1):
            yield f"{path}, row {number},", values
    else:
        raise UserError(f"dataset.source.metadata={path} is neither a .csv, a .jsonl nor a .parquet file: {REMEDY}.")


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises UserError where it cannot be read, or lacks the column ``KEY``."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        rows: list[dict[str, Any]] = table.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): {REMEDY}.") from error
    if len(set(table.column_names)) < len(table.column_names):
        raise UserError(f"{path} has a column twice: {REMEDY}.")
    if KEY not in table.column_names:
        raise UserError(f"{path} has no column {KEY}, there are {', '.join(table.column_names) or 'none'}: {REMEDY}.")
    return rows


def write(value: Any) -> str:
    """A value as text: numbers and truth values as JSON has them, nothing as "", each end of a line as \\n."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)
    return text.replace("\r\n", "\n").replace("\r", "\n")
