"""``tdattr-report``: read finished runs, print their tables, and write them as files and as a page."""

import argparse
import os
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from tdattr.report.collect import collect
from tdattr.report.files import write_sheet
from tdattr.report.page import write
from tdattr.report.sheet import rich_sheet
from tdattr.report.sheets import sheets
from tdattr.report.tables import rich_table, rows


def run(arguments: list[str]) -> None:
    """Collect the runs that the arguments name. Raises UserError where there are none."""
    outputs = os.environ.get("TDATTR_OUTPUTS", "outputs")
    parser = argparse.ArgumentParser("tdattr-report", description="Collect finished runs into tables and a page.")
    parser.add_argument(
        "runs", nargs="*", type=Path, default=[Path(outputs) / "runs"], help=f"folders (default: {outputs}/runs)"
    )
    parser.add_argument("--out", type=Path, default=Path(outputs) / "report", help=f"default: {outputs}/report")
    options = parser.parse_args(arguments)
    found = [(comparison, rows(comparison), sheets(comparison)) for comparison in collect(options.runs)]
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for comparison, table, made in found:
        folder = options.out / "tables" / comparison.slug
        console.print(rich_table(comparison, table) if table else Text(comparison.title, "italic"))
        for sheet in made:
            write_sheet(folder, sheet)
            if sheet.printed:
                console.print(Text(f"\n{sheet.title}", "italic"), rich_sheet(sheet), sep="\n")
        if made:
            names = ", ".join(sheet.name for sheet in made)
            console.print(Text(f"\nAs .csv, .md and .tex in {folder}: {names}\n"), soft_wrap=True)
    frames = [pd.DataFrame(table).assign(comparison=comparison.title) for comparison, table, _ in found if table]
    if frames:
        pd.concat(frames).to_csv(options.out / "table.csv", index=False)
        console.print(f"Table: {options.out / 'table.csv'}", soft_wrap=True)
    write(options.out / "index.html", found)
    console.print(f"Report: {options.out / 'index.html'}", soft_wrap=True)
