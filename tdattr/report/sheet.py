"""A table as it is printed and written: its cells keep the numbers that they show."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

NOTHING = "–"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line break


@dataclass(frozen=True)
class Number:
    """A number and how it is shown; None or NaN: nothing to show."""

    value: float | None
    form: str = ".3f"
    interval: float | None = None  # half of the 95 % interval
    marked: bool | None = None  # as significant; None: not tested
    below: float | None = None  # shown as "<below" where it is smaller
    footnote: str | None = None  # the mark of a footnote that the caption has

    def __str__(self) -> str:
        if self.value is None or math.isnan(self.value):
            return NOTHING + (self.footnote or "")
        if self.below is not None and self.value < self.below:
            return f"<{self.below:g}"
        text = format(self.value, self.form)
        if self.interval is not None and not math.isnan(self.interval):
            text += f" ± {format(self.interval, self.form.lstrip('+'))}"
        return text + "*" * bool(self.marked) + (self.footnote or "")


Cell: TypeAlias = str | Number


@dataclass(frozen=True)
class Sheet:
    """A table: every row has the same columns."""

    name: str  # of its files
    title: str
    caption: str
    rows: list[dict[str, Cell]]
    printed: bool = True  # also in a terminal
    aside: tuple[str, ...] = ()  # columns that are not printed there

    @property
    def columns(self) -> list[str]:
        """The headings."""
        return list(self.rows[0])

    def textual(self, column: str) -> bool:
        """Whether a column holds words, which stand on the left."""
        return all(isinstance(row[column], str) for row in self.rows)


def list_marks(rows: Iterable[Mapping[str, Cell]]) -> str:
    """The marks of all footnotes that the cells have."""
    cells = [cell for row in rows for cell in row.values()]
    return "".join(cell.footnote or "" for cell in cells if isinstance(cell, Number))


def drop_empty_columns(rows: list[dict[str, Cell]], keep: int = 1) -> list[dict[str, Cell]]:
    """The rows without the columns that show nothing anywhere; the first ``keep`` stay."""
    shown = {column for row in rows for column, cell in row.items() if str(cell) != NOTHING}
    return [{c: cell for index, (c, cell) in enumerate(row.items()) if index < keep or c in shown} for row in rows]


def render_sheet(sheet: Sheet) -> Table:
    """For a terminal of 80 characters, where the numbers allow it; without its title."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    columns = [column for column in sheet.columns if column not in sheet.aside]
    for column in columns:
        words = sheet.textual(column)  # which fold where there is no room
        table.add_column(as_text(column), justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in sheet.rows:
        table.add_row(*(as_text(str(row[column])) for column in columns))
    return table


def as_text(text: str, style: str = "") -> Text:
    """What a terminal shows of a text: neither markup nor the signs by which a terminal is controlled mean anything."""
    return Text(CONTROL.sub("\ufffd", text), style)
