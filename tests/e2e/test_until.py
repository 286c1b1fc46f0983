"""A run may end before the verdict; the next one finds what it left."""

from pathlib import Path

from tests.e2e.console import TINY, tdattr

PIXEL = ["method=pixel", "protocol.k=3", *TINY]


def stages(folder: Path) -> set[str]:
    """The stages of which there is something."""
    return {path.parts[-2] for path in folder.glob("outputs/artifacts/*/[!.]*")}


def test_a_run_ends_where_it_is_told_to(tmp_path: Path) -> None:
    done = tdattr(*PIXEL, "until=generate", folder=tmp_path)
    assert "generate" in stages(tmp_path) and "query_scores" not in stages(tmp_path)
    assert done.stderr.splitlines()[-1].startswith("until=generate, so there is no verdict. Results: ")
    done = tdattr(*PIXEL, "until=attribute", folder=tmp_path)
    assert "Training F1" not in done.stderr and "evaluate" not in stages(tmp_path)
    assert len(list(tmp_path.glob("outputs/artifacts/attribute/[!.]*"))) == 2  # and what the verdict compares it with
    assert not list(tmp_path.glob("outputs/runs/**/summary.json"))
    done = tdattr(*PIXEL, folder=tmp_path)
    assert "Attributing" not in done.stderr and "evaluate" in stages(tmp_path)
    assert len(list(tmp_path.glob("outputs/runs/**/summary.json"))) == 1
    wrong = tdattr(*PIXEL, "until=train", folder=tmp_path, check=False)
    assert "until=train is unknown: choose generate, attribute or evaluate." in wrong.stderr
