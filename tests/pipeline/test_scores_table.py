"""The table of scores that other programs open."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch

import tdattr as library
from tdattr.pipeline import run, scores_table
from tdattr.pipeline.scores_table import COLUMNS, schema, tabulate_scores, write_scores
from tdattr.pipeline.workspace import Workspace
from tdattr.scores import Scores, save_scores
from tdattr.store import Artifact
from tests.conftest import CONF
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow
SMALL = [*TINY, "method=pixel", "protocol=none", "queries.controls=0"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Scores]:
    """A workspace, and the scores that it has stored."""
    ws = library.compose([*SMALL, "dataset.groups=label", f"paths.outputs={tmp_path_factory.mktemp('scored')}"])
    return ws, library.attribute(ws)


def store(monkeypatch: pytest.MonkeyPatch, folder: Path, scores: Scores) -> None:
    """Let these be the scores of any method."""
    folder.mkdir()
    save_scores(scores, folder)
    plan = SimpleNamespace(finished=True, artifact=Artifact("attribute", "1", folder))
    monkeypatch.setattr(scores_table, "attribute", lambda ws: plan)


def tabulate(ws: Workspace, **settings: Any) -> pd.DataFrame:
    columns = tabulate_scores(ws, **settings)
    assert columns is not None
    return pd.DataFrame(columns)


def test_pandas_reads_every_query_and_item_that_it_says(scored: tuple[Workspace, Scores], tmp_path: Path) -> None:
    ws, scores = scored
    columns = tabulate_scores(ws, most=5)
    assert columns is not None
    write_scores(columns, tmp_path / "scores.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "scores.parquet").remove_metadata().equals(schema())
    table = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(table) == list(COLUMNS) and len(table) == 3 * 5
    owners = ws.data.train.items["label"].tolist()
    for query, rows in table.groupby("query"):
        assert rows["item"].tolist() == scores.top(5)[query].tolist()
        assert rows["score"].tolist() == scores.values[query, rows["item"].to_numpy()].tolist()
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
        assert rows["group"].tolist() == [owners[item] for item in rows["item"]]
    assert set(table["method"]) == {"pixel"} and set(table["seed"]) == {ws.seed}
    assert table["standard_error"].isna().all() and table["item_path"].isna().all() and table["query_path"].isna().all()
    assert table["query_caption"].unique().tolist() == [f"query {query}" for query in range(3)]


def test_the_documented_lines_say_what_is_named_most(
    scored: tuple[Workspace, Scores],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ws, scores = scored
    folder = tmp_path / "outputs" / "runs" / "1"
    folder.mkdir(parents=True)
    columns = tabulate_scores(ws)
    assert columns is not None
    write_scores({**columns, "method": ["mucs"] * len(columns["query"])}, folder / "scores.parquet")
    text = (CONF.parent / "docs" / "artifacts.md").read_text()
    [block] = [block for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "read_parquet" in block]
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    printed = capsys.readouterr().out
    items, counts = np.unique(scores.top(8), return_counts=True)
    line = next(line for line in printed.partition("item\n")[2].splitlines())
    assert [int(word) for word in line.split()] == [items[counts == counts.max()][0], counts.max()]


def test_of_a_race_only_what_it_has_decided_is_there(
    scored: tuple[Workspace, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, scores = scored
    errors = torch.full_like(scores.values, 0.5)
    store(monkeypatch, tmp_path / "race", replace(scores, decided=3, standard_errors=errors))
    table = tabulate(ws)
    assert len(table) == 3 * 3 and set(table["standard_error"]) == {0.5}


@pytest.mark.parametrize(("signed", "places"), [(True, [0, 1, -2, -1]), (False, [0, 1])])
def test_what_counts_against_a_query_is_there_where_a_method_says_so(
    signed: bool, places: list[int], scored: tuple[Workspace, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, scores = scored
    store(monkeypatch, tmp_path / "scores", scores)
    monkeypatch.setattr(type(ws.method), "signed", signed)
    ordered, count = scores.values.sort(dim=1, descending=True).values, scores.values.shape[1]
    table = tabulate(ws, most=2)
    assert table["score"].tolist() == ordered[:, places].flatten().tolist()
    assert table["rank"].tolist() == [1 + place % count for place in places] * len(ordered)
    monkeypatch.setattr(run, "MOST_ATTRIBUTED", 2)
    monkeypatch.setattr(run, "attribute", scores_table.attribute)
    run.save_attributions(ws, tmp_path / "attributions.csv")
    listed = pd.read_csv(tmp_path / "attributions.csv")
    assert listed["rank"].tolist() == table["rank"].tolist()
    assert listed["score"].tolist() == pytest.approx(table["score"].tolist())


def test_of_groups_there_is_a_row_each_and_no_item(
    scored: tuple[Workspace, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, scores = scored
    values = torch.tensor([[1.0, 3.0], [2.0, 1.0], [0.0, 5.0]])
    store(monkeypatch, tmp_path / "groups", Scores(values, scores.ids, groups=["one", "two"]))
    table = tabulate(ws)
    assert table["group"].tolist() == ["two", "one", "one", "two", "two", "one"]
    assert table["item"].isna().all() and table["item_caption"].isna().all()
    columns = tabulate_scores(ws)
    assert columns is not None
    write_scores(columns, tmp_path / "scores.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "scores.parquet").remove_metadata().equals(schema())


def test_of_several_dampings_the_best_one_is_there(
    scored: tuple[Workspace, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, scores = scored
    grid = torch.stack([scores.values, -scores.values], dim=1)
    store(monkeypatch, tmp_path / "grid", Scores(grid, scores.ids, dampings=[0.1, 1.0]))
    assert tabulate_scores(ws) is None
    best = tabulate(ws, summary={"damping": 1.0}, most=1)
    assert best["score"].tolist() == [pytest.approx(-float(row.min())) for row in scores.values]


def test_it_stays_small_however_many_items_there_are(tmp_path: Path) -> None:
    """20 queries of 50 000 items, with names such as people have."""
    rng = np.random.default_rng(0)
    each = 2 * scores_table.MOST_ROWS  # from both ends
    rows = 20 * each
    items = rng.integers(50_000, size=rows)
    names = [f"photographs/artist {item % 97}/IMG_{item:06}.jpg" for item in items.tolist()]
    nothing: list[Any] = [None] * rows
    columns = {
        "query": np.repeat(np.arange(20), each).tolist(),
        "query_caption": ["query"] * rows,
        "query_path": nothing,
        "rank": [*range(1, each // 2 + 1), *range(50_001 - each // 2, 50_001)] * 20,
        "item": items.tolist(),
        "item_caption": [f"{name}, a photograph of number {item}" for name, item in zip(names, items, strict=True)],
        "item_path": [f"/data/somewhere/{name}" for name in names],
        "group": [f"artist {item % 97}" for item in items.tolist()],
        "method": ["mucs"] * rows,
        "seed": [1] * rows,
        "score": rng.normal(size=rows).tolist(),
        "standard_error": rng.random(rows).tolist(),
    }
    write_scores(columns, tmp_path / "scores.parquet")
    assert (tmp_path / "scores.parquet").stat().st_size < 1.5 * 2**20
    assert json.loads(pd.read_parquet(tmp_path / "scores.parquet")["item"].iloc[:3].to_json(orient="values")) == (
        items[:3].tolist()
    )
