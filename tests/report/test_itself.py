"""Scores of training items for themselves: their table, and their page in a real browser."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tdattr.report import command
from tdattr.scores import Scores, Twins, save_scores
from tests.report.outputs import ITEMS, Outputs, made
from tests.report.pictured import add_pictures
from tests.report.viewed import GROUPS, Open, slug


def write_runs(root: Path) -> Outputs:
    """Two methods, of which one is run under two seeds."""
    outputs = Outputs(root)
    for method, seed in (("tracin", 1), ("das", 1), ("das", 2)):
        names = [f"{method}{seed}_{rank}.png" for rank in range(8)]
        told = {
            "highest": [{"id": rank, "named": name, "score": 8.0 - rank} for rank, name in enumerate(names)],
            "pairs": [
                {"ids": [0, 1], "named": f"{name} and b", "shared": 1 - rank / 8}
                for rank, name in enumerate(names[:6] if seed == 2 else names)
            ],
        }
        table = pd.DataFrame({"query": [0], "label": ["itself"], "named": [names[0]], "score": [8.0]})
        found = {"protocol": "none", "title": "scores of items for themselves", "itself": told, "num_queries": 1}
        config = {"method": {"name": method, "self": True}}
        config["queries"] = {"attributed": 1, "controls": 0, "explained": "itself"}  # type: ignore[dict-item]
        outputs.write(method, seed, "tiny", table, found, config)
        add_pictures(outputs, ["a one", "a two"], GROUPS)
        shared = torch.linspace(0, 1, ITEMS)[None]
        twins = Twins(torch.arange(ITEMS).roll(1)[None], shared)
        scores = Scores(torch.arange(ITEMS)[None].float(), np.arange(ITEMS), twins=twins)
        save_scores(scores, root / "artifacts" / "scores" / f"{outputs.count}")
    return outputs


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of their report."""
    outputs = write_runs(tmp_path_factory.mktemp("itself"))
    command.write([outputs.root / "runs"], outputs.root / "report")
    return outputs.root / "report"


def test_the_table_has_items_and_pairs_by_rank(tmp_path: Path) -> None:
    found = made(write_runs(tmp_path))
    assert set(found) == {"itself"}  # no query names anything first
    rows = found["itself"].rows
    assert len(rows) == 2 * 8 and list(rows[0]) == ["seed", "rank", "tracin", "tracin: pairs", "das", "das: pairs"]
    assert rows[1]["tracin"] == "tracin1_1.png (7)" and rows[1]["das: pairs"] == "das1_1.png and b (0.875)"
    assert rows[15]["das"] == "das2_7.png (1)" and rows[15]["das: pairs"] == "–"  # there are six pairs
    assert rows[8]["seed"] == "2" and rows[8]["tracin"] == "–" and rows[8]["das"] == "das2_0.png (8)"


@pytest.mark.slow
def test_the_page_shows_items_and_pairs_and_no_query(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'none')}/queries/s1q0")
    das = page.locator(".current section.method[aria-label=das]")
    headings = das.locator("h5").all_inner_texts()
    assert [heading.partition(":")[0] for heading in headings] == [
        "Highest scores", "Lowest scores", "Pairs that share most of it",
    ]  # fmt: skip
    first = das.locator(".targets").nth(0).locator(".target").first.inner_text()
    assert first.startswith(f"{ITEMS - 1}")
    pair = das.locator(".targets").nth(2).locator(".target").all_inner_texts()
    assert len(pair) == 8 and pair[0].startswith("1") and pair[1].startswith("1")
    subject = page.locator(".current .subject")
    assert subject.locator("img").count() == 0 and "generated" not in subject.inner_text()
    grid = open_page(f"#{slug(report, 'none')}")
    card = grid.locator(".current .card").first.inner_text()
    assert "How much every training item depends on itself" in card and "owes" not in card and "query" not in card
    assert "how much every training item depends on itself" in grid.content()
