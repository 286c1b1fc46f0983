"""``tdattr-report``: read finished runs, print their tables, and write them as files and as a page."""

import argparse
import os
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from tdattr.report.collect import IMPORTED
from tdattr.report.files import write_sheet
from tdattr.report.page import write_page
from tdattr.report.readable import make_readable
from tdattr.report.sheet import render_sheet
from tdattr.report.tables import render_table

MOST_FOLDERS = 5  # that a terminal names for one reason


def run(arguments: list[str]) -> None:
    """Collect the runs that the arguments name. Raises UserError where there are none."""
    outputs = expand(os.environ.get("TDATTR_OUTPUTS", "outputs"))
    parser = argparse.ArgumentParser("tdattr-report", description="Collect finished runs into tables and a page.")
    parser.add_argument(
        "runs", nargs="*", type=expand, default=[outputs / "runs"], help=f"folders (default: {outputs}/runs)"
    )
    parser.add_argument("--out", type=expand, default=outputs / "report", help=f"default: {outputs}/report")
    options = parser.parse_args(arguments)
    collected, made = make_readable(options.runs)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for experiment, rows, sheets in made:
        folder = options.out / "tables" / experiment.slug
        console.print(render_table(experiment, rows) if rows else Text(experiment.title, "italic"))
        if experiment.imported:
            console.print(Text(IMPORTED), soft_wrap=True)
        for sheet in sheets:
            write_sheet(folder, sheet)
            if sheet.printed:
                console.print(Text(f"\n{sheet.title}", "italic"), render_sheet(sheet), sep="\n")
        if sheets:
            names = ", ".join(sheet.name for sheet in sheets)
            console.print(Text(f"\nAs .csv, .md and .tex in {folder}: {names}\n"), soft_wrap=True)
    without = {run.folder: run.unpictured for run in collected.runs if run.unpictured is not None}
    for line in (
        *describe_left_out(collected.left_out, MOST_FOLDERS),
        *describe_left_out(without, MOST_FOLDERS, "No pictures"),
    ):
        console.print(Text(line), soft_wrap=True)
    frames = [pd.DataFrame(rows).assign(experiment=experiment.title) for experiment, rows, _ in made if rows]
    if frames:
        pd.concat(frames).to_csv(options.out / "table.csv", index=False)
        console.print(f"Table: {options.out / 'table.csv'}", soft_wrap=True)
    left_out = [*describe_left_out(collected.left_out), *describe_left_out(without, said="No pictures")]
    write_page(options.out / "index.html", made, left_out)
    console.print(f"Report: {options.out / 'index.html'}", soft_wrap=True)


def expand(path: str) -> Path:
    """A path that a user gives."""
    return Path(path).expanduser()


def describe_left_out(left_out: dict[Path, str], most: int | None = None, said: str = "Not shown") -> list[str]:
    """For each reason, the folders of the runs that are not shown, of which at most so many are named."""
    by_reason: dict[str, list[Path]] = {}
    for folder, reason in left_out.items():
        by_reason.setdefault(reason, []).append(folder)
    lines = []
    for reason, folders in by_reason.items():
        rest = 0 if most is None else max(0, len(folders) - most)
        named = ", ".join(str(folder) for folder in folders[: len(folders) - rest])
        lines.append(f"{said} ({reason}): {named}{f' and {rest} more' if rest else ''}.")
    return lines
