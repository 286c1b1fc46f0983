"""What a user adds from a folder of their own, one file and one YAML each, without an edit of the package."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.console import TINY, tdattr

HERE = Path(__file__).parent


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an example outside of the package, its Python importable: the folder that holds ``conf``."""
    folder = tmp_path / "my own"
    shutil.copytree(HERE / request.param, folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def summaries(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/runs/**/summary.json"))]


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["measure"], indirect=True)
def test_a_measure(own: Path, tmp_path: Path) -> None:
    search = f"hydra.searchpath=['file://{own}/conf']"
    command = ["method=pixel", *TINY, "metrics=[ssim,gray_level]"]
    tdattr(*command, search, "measures.gray_level.scale=0.5", folder=tmp_path)
    tdattr("-m", "--config-dir", str(own / "conf"), *command, "measures.gray_level.scale=0.5,1", folder=tmp_path)
    found = [summary["metrics"]["gray_level"] for summary in summaries(tmp_path)]
    assert len(found) == 3
    assert found[0] == found[1]  # from either place
    assert found[0]["auc"] == found[2]["auc"] and found[0]["ci95"] > found[2]["ci95"]
    done = tdattr(*TINY, search, "metrics=auto", "method=random", folder=tmp_path)
    assert "gray_level" in next(line for line in done.stderr.splitlines() if "metrics=auto takes" in line)
    assert "gray_level" in tdattr(folder=tmp_path, command="report").stdout
    without = tdattr(*command, folder=tmp_path, check=False)
    assert "metrics names 'gray_level': name some of classifier, clip" in without.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["logger"], indirect=True)
def test_a_logger(own: Path, tmp_path: Path) -> None:
    search = [f"hydra.searchpath=['file://{own}/conf']", "logger=diary", "logger.path=diary.txt"]
    tdattr("-m", "method=random,pixel", *TINY, *search, folder=tmp_path)
    lines = (tmp_path / "diary.txt").read_text().splitlines()
    aucs = [summary["metrics"]["ssim"]["auc"] for summary in summaries(tmp_path)]
    assert lines == [f"digits, {name}: AUC {auc:.3f}" for name, auc in zip(("random", "pixel"), aucs, strict=True)]
