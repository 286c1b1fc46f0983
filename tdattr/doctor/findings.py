"""What the doctor finds: a sentence with its numbers, a verdict, and what helps."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tdattr.report.sheet import Number, Sheet

Verdict = Literal["fine", "note", "look", "broken", "open"]
WORST_FIRST: tuple[Verdict, ...] = ("broken", "look", "open")
MEANING: dict[Verdict, str] = {
    "fine": "as it should be",
    "note": "good to know; a run warns of it",
    "look": "it works, but the results may mean little: read the sentence",
    "broken": "nothing sensible can come out of it",
    "open": "not checked",
}


@dataclass(frozen=True)
class Finding:
    """``check``: what was looked at, in a word or two. ``remedy``: the override or the step that helps."""

    check: str
    verdict: Verdict
    said: str
    remedy: str | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Examination:
    """All findings about one command, and the tables behind them."""

    overrides: list[str]
    findings: list[Finding] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst that was found."""
        found = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in WORST_FIRST if verdict in found), "fine")

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        tables = {
            sheet.name: [
                {column: cell.value if isinstance(cell, Number) else cell for column, cell in row.items()}
                for row in sheet.rows
            ]
            for sheet in self.sheets
        }
        findings = [asdict(finding) for finding in self.findings]
        return {"overrides": self.overrides, "verdict": self.verdict, "findings": findings, "tables": tables}
