"""``import tdattr``: the stages as functions, on the same artifacts as commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tdattr
from tdattr.errors import UserError
from tests.e2e.console import TINY
from tests.e2e.console import tdattr as command


@pytest.fixture
def ws(tmp_path: Path) -> "tdattr.pipeline.workspace.Workspace":  # type: ignore[name-defined]
    """Pixel similarity on the digits, at toy scale."""
    return tdattr.compose([*TINY, "method=pixel", f"paths.outputs={tmp_path / 'outputs'}"])


def test_stages_are_functions_on_the_artifacts_of_commands(ws, tmp_path: Path) -> None:
    scores = tdattr.attribute(ws)
    assert scores.values.shape == (3, 1621)
    queries = tdattr.generate(ws)
    assert queries.images.shape == (3, 1, 8, 8) and torch.equal(queries.images, queries.x.clamp(-1, 1))
    assert queries.x.abs().max() > 1  # attributed as the sampler left them
    summary = tdattr.evaluate(ws)
    assert summary["protocol"] == "leave_k_out"
    network = tdattr.train(ws)
    assert not network.training
    command("method=pixel", *TINY, folder=tmp_path)
    (path,) = tmp_path.glob("outputs/runs/*/summary.json")
    assert json.loads(path.read_text()) == summary
    assert tdattr.compose([*TINY, "method=pixel", f"paths.outputs={tmp_path / 'outputs'}"]).store.built == []


def test_scores_are_a_table_in_a_notebook(ws) -> None:
    scores = tdattr.attribute(ws)
    table = scores.table(top=3)
    assert list(table.columns) == ["query", "rank", "id", "score"]
    assert len(table) == 9
    best = scores.values.max(1)
    assert table[table["rank"] == 1]["score"].tolist() == best.values.tolist()
    assert table[table["rank"] == 1]["id"].tolist() == scores.ids[best.indices].tolist()
    assert "<table" in scores._repr_html_()


def test_composing_checks_as_a_command_does(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"protocol.k=2000"):
        tdattr.compose([*TINY, "protocol.k=2000", f"paths.outputs={tmp_path / 'outputs'}"])


def test_threads_are_the_process_s_own(ws) -> None:
    before = torch.get_num_threads()
    tdattr.compose([*TINY, "trainer.threads=3", "method=pixel", f"paths.outputs={ws.store.root.parent}"])
    assert torch.get_num_threads() == before


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, tdattr; print(sorted({'torch', 'lightning', 'diffusers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
