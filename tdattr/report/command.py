"""``tdattr-report``: read finished runs, print their tables, and write them as files and as a page."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.console import Console

from tdattr.files import writing
from tdattr.report.collect import IMPORTED, Experiment
from tdattr.report.files import write_csv, write_sheet
from tdattr.report.methods import explain_all
from tdattr.report.page import Made, write_page
from tdattr.report.page import Table as Rows
from tdattr.report.readable import make_readable
from tdattr.report.sheet import Sheet, as_text, list_marks, render_sheet
from tdattr.report.tables import AUC_EXPLAINED, describe_marks, leave_ablations_out, render_table
from tdattr.report.unjudged import Unjudged, find_unjudged
from tdattr.wording import name_some

TABLE, PAGE = "table.csv", "index.html"
MOST_FOLDERS = 5  # that a terminal names for one reason


def run(options: argparse.Namespace) -> None:
    """Collect the runs that the options name (`tdattr.report.arguments`). Raises UserError where there are none."""
    show(*write(options.runs, options.out), options.out, options.quiet)


def write(runs: list[Path], out: Path) -> tuple[list[Made], list[Unjudged], list[str]]:
    """Write the report of the runs in some folders into another one; gives what it shows, with and without a verdict,
    and what a terminal is to say of runs that it does not. Raises UserError where there are none."""
    collected, made = make_readable(runs)
    unjudged, unreadable = find_unjudged(runs)
    tables = {experiment.slug: sheets for experiment, _, sheets in made} | {each.slug: each.sheets for each in unjudged}
    with writing(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
        for slug, sheets in tables.items():
            for sheet in sheets:
                write_sheet(out / "tables" / slug, sheet)
        frames = [pd.DataFrame(rows).assign(experiment=experiment.title) for experiment, rows, _ in made if rows]
        if frames:
            write_csv(pd.concat(frames), out / TABLE)
        without = {run.folder: run.unpictured for run in collected.runs if run.unpictured is not None}
        named, few = (
            [
                *describe_left_out(collected.left_out | unreadable, most),
                *describe_left_out(without, most, "No pictures"),
            ]
            for most in (None, MOST_FOLDERS)
        )
        write_page(out / PAGE, made, unjudged, named)
    return made, unjudged, few


def show(made: list[Made], unjudged: list[Unjudged], left_out: list[str], out: Path, quiet: bool = False) -> None:
    """Print the tables, unless ``quiet``, and where the files are; these are written by now, so that nobody need read
    to the end."""
    console = Terminal()
    for each in [] if quiet else unjudged:
        console.print(as_text(each.title, "bold"))
        show_notes(console, each.usual)
        show_sheets(console, each.sheets)
        say_where(console, each.sheets, out / "tables" / each.slug)
    for experiment, rows, sheets in [] if quiet else made:
        show_experiment(console, experiment, rows, sheets)
        say_where(console, sheets, out / "tables" / experiment.slug)
    overview = [f"Table: {out / TABLE}"] if any(rows for _, rows, _ in made) else []
    lines = [*left_out, *overview, f"Report: {out / PAGE}"]
    for line in lines:
        console.print(as_text(line), soft_wrap=True)


def show_experiment(console: Console, experiment: Experiment, rows: Rows, sheets: list[Sheet]) -> None:
    """Print the tables of an experiment."""
    shown = leave_ablations_out(experiment, rows)
    console.print(as_text(experiment.title, "bold"))
    explained = describe_marks(shown) or ""
    show_notes(console, experiment.usual)
    if shown:
        console.print(render_table(shown), as_text(AUC_EXPLAINED), as_text(explained), sep="\n")
    if experiment.imported:
        console.print(as_text(IMPORTED), soft_wrap=True)
    show_sheets(console, sheets, explained)
    show_notes(console, experiment.noted)
    if experiment.far_from_data:
        console.print(as_text(f"\n{experiment.far_from_data}", "bold"))


def show_notes(console: Console, notes: Iterable[str]) -> None:
    """Print sentences, a line each."""
    for note in notes:
        console.print(as_text(note), soft_wrap=True)


def show_sheets(console: Console, sheets: list[Sheet], explained: str = "") -> None:
    """Print those tables that are printed, and the footnotes of their marks that are not ``explained`` yet."""
    printed = [sheet for sheet in sheets if sheet.printed]
    for sheet in printed:
        console.print(as_text(f"\n{sheet.title}", "italic"), render_sheet(sheet), sep="\n")
    marks = [mark for sheet in printed for mark in list_marks(sheet.rows) if mark not in explained]
    if footnotes := explain_all("".join(marks)):
        console.print(as_text(footnotes))


def say_where(console: Console, sheets: list[Sheet], folder: Path) -> None:
    """Print where the files of some tables are."""
    if sheets:
        names = ", ".join(sheet.name for sheet in sheets)
        console.print(as_text(f"\nAs .csv, .md and .tex in {folder}: {names}\n"), soft_wrap=True)


class Terminal(Console):
    """A console whose reader may leave (``tdattr-report | head``)."""

    def on_broken_pipe(self) -> None:
        """Print nothing more, and nothing about it; not even when the interpreter flushes at its end."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_left_out(left_out: dict[Path, str], most: int | None = None, said: str = "Not shown") -> list[str]:
    """For each reason, the folders of the runs that are not shown, of which at most so many are named."""
    by_reason: dict[str, list[Path]] = {}
    for folder, reason in left_out.items():
        by_reason.setdefault(reason, []).append(folder)
    lines = []
    for reason, folders in by_reason.items():
        named = name_some(list(map(str, folders)), len(folders) if most is None else most)
        lines.append(f"{said} ({reason}): {named}.")
    return lines
