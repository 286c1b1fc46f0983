"""Tables as files: CSV for programs, Markdown and LaTeX for people."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pandas as pd

from tdattr.report.sheet import Cell, Number, Sheet
from tdattr.tables import quote_formula

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "[": "{[}",  # at the start of a row it would be an argument of the row before
        "]": "{]}",
        "*": "$^{*}$",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "†": r"$^{\dagger}$",
        "‡": r"$^{\ddagger}$",
        "§": r"$^{\S}$",
        "¶": r"$^{\P}$",
        "μ": r"$\mu$",
        "Δ": r"$\Delta$",
        "λ": r"$\lambda$",
        "σ": r"$\sigma$",
        "–": "--",
        "…": r"\dots{}",
    }
)


def write_sheet(folder: Path, sheet: Sheet) -> None:
    """Write ``name.csv``, ``name.md`` and ``name.tex``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(to_frame(sheet), folder / f"{sheet.name}.csv")
    for suffix, text in (("md", to_markdown(sheet)), ("tex", to_latex(sheet))):
        (folder / f"{sheet.name}.{suffix}").write_text(text, encoding="utf-8")


def write_csv(frame: pd.DataFrame, path: Path | StringIO) -> None:
    """Write a table in which no name is a formula to a spreadsheet."""
    frame.map(quote_formula).rename(columns=quote_formula).to_csv(path, index=False)


def to_frame(sheet: Sheet) -> pd.DataFrame:
    """The numbers unrounded; intervals, marks of significance and those of footnotes in columns of their own."""

    def parts(cells: list[Cell], attribute: str) -> list[object]:
        return [getattr(cell, attribute) if isinstance(cell, Number) else None for cell in cells]

    columns: dict[str, list[object]] = {}
    for column in sheet.columns:
        cells = [row[column] for row in sheet.rows]
        columns[column] = [cell.value if isinstance(cell, Number) else cell for cell in cells]
        for attribute, name in (("interval", "ci95"), ("marked", "significant"), ("footnote", "footnote")):
            values = parts(cells, attribute)
            if any(value is not None for value in values):
                columns[f"{column} {name}"] = values
    return pd.DataFrame(columns)


def to_markdown(sheet: Sheet) -> str:
    """A pipe table below its title, above its caption."""
    table = escape_cells(sheet, lambda text: re.sub(r"([|*<\[`\\])", r"\\\1", text))
    alignment = ["left" if sheet.textual(column) else "right" for column in sheet.columns]
    body = table.to_markdown(index=False, colalign=alignment, disable_numparse=True)
    title, caption = (re.sub(r"([*<_\[`])", r"\\\1", text) for text in (sheet.title, sheet.caption))
    return f"**{title}**\n\n{body}\n\n{caption}\n"


def to_latex(sheet: Sheet) -> str:
    """A table environment; needs the package booktabs."""
    style = escape_cells(sheet, escape_latex).style.hide(axis="index")
    return style.to_latex(
        caption=escape_latex(f"{sheet.title}. {sheet.caption}"),
        column_format="".join("l" if sheet.textual(column) else "r" for column in sheet.columns),
        hrules=True,
        position_float="centering",
    )


def escape_cells(sheet: Sheet, escape: Callable[[str], str]) -> pd.DataFrame:
    """The cells and headings as people read them, with what a format takes for its own signs escaped."""
    rows = [[escape(in_one_line(str(cell))) for cell in row.values()] for row in sheet.rows]
    return pd.DataFrame(rows, columns=[escape(in_one_line(column)) for column in sheet.columns])


def in_one_line(text: str) -> str:
    """Text without line breaks, which would end a row."""
    return " ".join(text.split())


def escape_latex(text: str) -> str:
    """Text as LaTeX sets it; a minus before a number is one."""
    plain = text.translate(LATEX)
    return re.sub(r"(^|(?<=[\s(]))-(?=\d)", lambda _: "$-$", plain)
