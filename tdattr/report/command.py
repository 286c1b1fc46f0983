"""``tdattr-report``: read finished runs, print their tables, and write them as CSV and as a page."""

import argparse
import os
from pathlib import Path

import pandas as pd
from rich.console import Console

from tdattr.report.collect import collect
from tdattr.report.page import write
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
    comparisons = [(comparison, rows(comparison)) for comparison in collect(options.runs)]
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for comparison, table in comparisons:
        console.print(rich_table(comparison, table))
    frames = [pd.DataFrame(table).assign(comparison=comparison.title) for comparison, table in comparisons]
    pd.concat(frames).to_csv(options.out / "table.csv", index=False)
    write(options.out / "index.html", comparisons)
    console.print(f"Table: {options.out / 'table.csv'}", soft_wrap=True)
    console.print(f"Report: {options.out / 'index.html'}", soft_wrap=True)
