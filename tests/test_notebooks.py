"""The notebooks of the documentation run, and what they hold is what they show."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CONF
from tests.notebook import code_cells, run, run_cell

NOTEBOOKS = sorted((CONF.parent / "docs").glob("*.ipynb"))


def kinds(outputs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """What a cell shows, but for the values: those of figures and scores differ in their last bits between machines."""
    return [(output["output_type"], sorted(output.get("data", {}))) for output in outputs]


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_an_empty_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TDATTR_OUTPUTS", str(tmp_path / "outputs"))
    notebook = json.loads(path.read_text(encoding="utf-8"))
    shown = run(notebook)
    assert [kinds(outputs) for outputs in shown] == [kinds(cell["outputs"]) for cell in code_cells(notebook)]
    assert any("image/png" in output.get("data", {}) for outputs in shown for output in outputs)


def test_a_cell_shows_what_it_prints_its_last_value_and_its_figures() -> None:
    names: dict[str, Any] = {}
    assert list(run_cell("a = 2\nprint(a)\na + 1", names)) == [
        {"output_type": "stream", "name": "stdout", "text": ["2\n"]},
        {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": {"text/plain": ["3"]}},
    ]
    assert list(run_cell("b = a", names)) == []
    [drawn] = run_cell("import matplotlib.pyplot as plt\nplt.figure()\nNone", names)
    assert drawn["output_type"] == "display_data"
    with pytest.raises(ZeroDivisionError):
        list(run_cell("a / 0", names))
