"""Runs that end before a verdict look at F1 and its queries as those with one do."""

from pathlib import Path

import pytest

from tests.e2e.console import TINY, tdattr

HEALTH = ["health.samples=4", "health.extractor.steps=2", "health.extractor.batch_size=8"]


@pytest.mark.parametrize("until", ["generate", "attribute"])
def test_a_run_without_a_verdict_says_what_its_queries_are_worth(until: str, tmp_path: Path) -> None:
    printed = tdattr("method=pixel", *TINY, *HEALTH, f"until={until}", folder=tmp_path).stderr
    assert "Fréchet distance" in printed and "are less like the training items" in printed
    assert "verdict stands on" not in printed  # there is none
    assert printed.index("are less like") < (printed.find("Attributing (pixel)") % (1 << 30))
    assert len([*tmp_path.glob("outputs/runs/**/attributions.csv")]) == (until == "attribute")
