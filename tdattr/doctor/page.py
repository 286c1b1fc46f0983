"""The findings as a page, as JSON, and on a terminal."""

import shlex
from pathlib import Path

from rich import box
from rich.table import Table

from tdattr.doctor.findings import MEANING, Examination
from tdattr.files import write_json, write_text, writing
from tdattr.report.command import Terminal
from tdattr.report.page import open_template
from tdattr.report.sheet import as_text, render_sheet

PAGE, FINDINGS = "index.html", "findings.json"
STYLES = {"fine": "green", "note": "cyan", "look": "yellow", "broken": "bold red", "open": "dim"}
SUMMARY = {
    "fine": "Nothing stands in the way of attributing this model.",
    "look": "It can be attributed, but some findings deserve a look before the results are believed.",
    "broken": "Something is broken: mend it before anything is attributed.",
    "open": "What could be checked is as it should be; the rest is open.",
}


def write(found: Examination, folder: Path) -> None:
    """Write the page and ``findings.json``. Raises UserError where the disk is full."""
    with writing(folder, "--out"):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FINDINGS, found.to_json())
        write_text(folder / PAGE, render(found))


def render(found: Examination) -> str:
    """The page: self-contained."""
    shown = {finding.verdict for finding in found.findings}
    return open_template(Path(__file__).parent).render(
        command=command(found),
        summary=SUMMARY[found.verdict],
        verdict=found.verdict,
        findings=found.findings,
        sheets=found.sheets,
        meanings={verdict: meaning for verdict, meaning in MEANING.items() if verdict in shown},
    )


def command(found: Examination) -> str:
    """The command of tdattr that was looked at."""
    return shlex.join(["tdattr", *found.overrides])


def show(found: Examination, folder: Path) -> None:
    """Print the findings, the tables, and where the page is."""
    console = Terminal()
    console.print(as_text(command(found), "bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found.findings:
        style = STYLES[finding.verdict]
        table.add_row(as_text(finding.verdict, style), as_text(finding.check), as_text(finding.said))
        if finding.remedy is not None:
            table.add_row("", "", as_text(f"→ {finding.remedy}", "italic"))
    console.print("", table, sep="\n")
    for sheet in found.sheets:
        console.print(as_text(f"\n{sheet.title}", "italic"), render_sheet(sheet), sep="\n")
    console.print(as_text(f"\n{SUMMARY[found.verdict]}", STYLES[found.verdict]), soft_wrap=True)
    console.print(as_text(f"Page: {folder / PAGE}"), soft_wrap=True)
