"""What a user adds from a folder of their own, one file and one YAML each, without an edit of the package."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.console import TINY, tdattr

HERE = Path(__file__).parent
CONTRIBUTING = HERE.parents[1] / "CONTRIBUTING.md"
KINDS = sorted(path.name for path in HERE.iterdir() if (path / "conf").is_dir())
GROUPS = ["dataset.groups=thirds.csv", "protocol=logo", "elbo.stride=200"]


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an example outside of the package, its Python importable: the folder that holds ``conf``."""
    folder = tmp_path / "my own"
    shutil.copytree(HERE / request.param, folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def search(own: Path) -> str:
    """The override that makes Hydra find the example."""
    return f"hydra.searchpath=['file://{own}/conf']"


def summaries(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/runs/**/summary.json"))]


def table(folder: Path, summary: dict) -> pd.DataFrame:
    """What a run's protocol said of each query."""
    return pd.read_csv(folder / "outputs/artifacts" / summary["artifacts"]["evaluation"] / "queries.csv")


@pytest.mark.parametrize("kind", KINDS)
def test_the_documentation_shows_exactly_these_files(kind: str) -> None:
    text = CONTRIBUTING.read_text()
    (code,) = (HERE / kind).glob("*.py")
    (config,) = (HERE / kind / "conf").rglob("*.yaml")
    assert f"```python\n{code.read_text()}```" in text
    assert f"```yaml\n# conf/{kind}/{config.name}\n{config.read_text()}```" in text


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["method"], indirect=True)
def test_a_method(own: Path, tmp_path: Path) -> None:
    tdattr("-m", "method=random,brightness", *TINY, search(own), folder=tmp_path)
    assert [summary["method"] for summary in summaries(tmp_path)] == ["random", "brightness"]
    tdattr("method=brightness", "method.power=2", *TINY, search(own), folder=tmp_path)
    scores = {summary["artifacts"]["scores"] for summary in summaries(tmp_path)}
    assert len(scores) == 3  # another value, other scores
    assert "brightness" in tdattr(folder=tmp_path, command="report").stdout


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["protocol"], indirect=True)
def test_a_protocol(own: Path, tmp_path: Path) -> None:
    done = tdattr("method=random", "protocol=top_share", *TINY, search(own), folder=tmp_path)
    assert "Retraining" not in done.stderr and "the 10 highest scores hold" in done.stderr
    (summary,) = summaries(tmp_path)
    assert table(tmp_path, summary)["share"].mean() == pytest.approx(summary["top_share"])
    printed = tdattr(folder=tmp_path, command="report").stdout
    assert "top_share, k = 10" in printed and "share" in printed
    too_many = tdattr(
        "method=random", "protocol=top_share", "protocol.k=9999", *TINY, search(own), folder=tmp_path, check=False
    )
    assert "protocol.k=9999 must be at least 1 and below the 1621 items." in too_many.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["objective"], indirect=True)
def test_an_objective(own: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"{index},{index % 3}" for index in range(1621))
    (tmp_path / "thirds.csv").write_text(f"id,group\n{rows}\n")
    small = ["method=guda_u", "method.unlearn.steps=2", "method.unlearn.batch_size=8"]
    tdattr(*small, "objective@method.objective=silence", *TINY, *GROUPS, search(own), folder=tmp_path)
    (summary,) = summaries(tmp_path)
    assert summary["method"] == "guda_u-silence"
    logs = list(tmp_path.glob("outputs/artifacts/unlearn/*/log.csv"))
    assert len(logs) == 3
    assert {"step", "retain", "forget"} <= set(pd.read_csv(logs[0]))


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["dataset"], indirect=True)
def test_a_dataset(own: Path, tmp_path: Path) -> None:
    small = [override for override in TINY if not override.startswith("dataset=")]
    tdattr("dataset=stripes", "method=pixel", *small, search(own), folder=tmp_path)
    (summary,) = summaries(tmp_path)
    assert (summary["dataset"], summary["num_items"]) == ("stripes", 64)


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["measure"], indirect=True)
def test_a_measure(own: Path, tmp_path: Path) -> None:
    command = ["method=pixel", *TINY, "metrics=[ssim,gray_level]"]
    tdattr(*command, search(own), "measures.gray_level.scale=0.001", folder=tmp_path)
    tdattr("-m", "--config-dir", str(own / "conf"), *command, "measures.gray_level.scale=0.001,0.002", folder=tmp_path)
    # on a scale so fine that what a dozen steps of training leave is more than rounding
    found = [summary["metrics"]["gray_level"] for summary in summaries(tmp_path)]
    assert len(found) == 3
    assert found[0] == found[1]  # from either place
    assert found[0]["auc"] == found[2]["auc"] and found[0]["ci95"] > found[2]["ci95"]
    done = tdattr(*TINY, search(own), "metrics=auto", "method=random", folder=tmp_path)
    assert "gray_level" in next(line for line in done.stderr.splitlines() if "metrics=auto takes" in line)
    assert "gray_level" in tdattr(folder=tmp_path, command="report").stdout
    without = tdattr(*command, folder=tmp_path, check=False)
    assert "metrics names 'gray_level': name some of classifier, clip" in without.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("own", ["logger"], indirect=True)
def test_a_logger(own: Path, tmp_path: Path) -> None:
    tdattr("-m", "method=random,pixel", "logger=diary", "logger.path=diary.txt", *TINY, search(own), folder=tmp_path)
    lines = (tmp_path / "diary.txt").read_text().splitlines()
    aucs = [summary["metrics"]["ssim"]["auc"] for summary in summaries(tmp_path)]
    assert lines == [f"digits, {name}: AUC {auc:.3f}" for name, auc in zip(("random", "pixel"), aucs, strict=True)]
