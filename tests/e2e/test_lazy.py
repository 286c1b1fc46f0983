"""What is stored is looked up first: nothing that only served to build it is built again."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.console import TINY, tdattr

ARTIFACTS = "outputs/artifacts"


def finished(folder: Path) -> set[str]:
    """The finished artifacts, as stage/address."""
    return {
        f"{path.parent.name}/{path.name}"
        for path in (folder / ARTIFACTS).glob("*/*")
        if path.is_dir() and not path.name.startswith(".")
    }


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which groups of the digits were left out, two queries at a time."""
    rows = "\n".join(f"{index},{'low' if index % 10 < 5 else 'high'}" for index in range(1621))
    (tmp_path / "halves.csv").write_text(f"id,group\n{rows}\n")
    return tmp_path


COMMANDS = {
    "leave_k_out": ["method=pixel", *TINY],
    "lds": ["method=pixel", *TINY, "protocol=lds", "protocol.subsets=3", "protocol.repeats=1", "protocol.draws=4"],
    "logo": ["method=logo", *TINY, "protocol=logo", "dataset.groups=halves.csv", "elbo.stride=200"],
    "guda": [
        *["method=guda_u", "method.unlearn.steps=2", "method.unlearn.batch_size=8"],
        *[*TINY, "protocol=logo", "dataset.groups=halves.csv", "elbo.stride=200"],
    ],
    "features": ["method=features", "method.extractor.steps=2", "method.extractor.batch_size=8", *TINY],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stored_verdict_needs_nothing_else(name: str, folder: Path) -> None:
    tdattr(*COMMANDS[name], folder=folder)
    before = newest(folder)
    for stage in (folder / ARTIFACTS).iterdir():
        if stage.name not in ("dataset", "evaluate"):
            shutil.rmtree(stage)
    left = finished(folder)
    again = tdattr(*COMMANDS[name], folder=folder)
    assert finished(folder) == left
    assert "nothing was computed" in again.stderr
    assert newest(folder) == before


def test_stored_scores_and_images_need_no_training(folder: Path) -> None:
    tdattr(*COMMANDS["leave_k_out"], folder=folder)
    before = newest(folder)
    for stage in ("evaluate", "pretrain", "generate_batch", "query_scores"):
        shutil.rmtree(folder / ARTIFACTS / stage)
    done = tdattr(*COMMANDS["leave_k_out"], folder=folder)
    assert "raining" not in done.stderr.replace("training items", "")
    assert newest(folder) == before
    assert {name.split("/")[0] for name in finished(folder)} == {"dataset", "generate", "attribute", "evaluate"}


def test_stored_bounds_need_no_retraining(folder: Path) -> None:
    tdattr(*COMMANDS["logo"], folder=folder)
    before = newest(folder)
    for stage in ("evaluate", "attribute", "query_scores", "pretrain"):
        shutil.rmtree(folder / ARTIFACTS / stage)
    done = tdattr(*COMMANDS["logo"], folder=folder)
    assert "Retraining" not in done.stderr and "Training F1" not in done.stderr
    after = newest(folder)
    assert after["agreement"] == before["agreement"] and after["artifacts"] == before["artifacts"]


def test_images_and_scores_resume_where_a_run_stopped(folder: Path) -> None:
    command = [*COMMANDS["leave_k_out"], "queries.batch_size=2"]
    tdattr(*command, folder=folder)
    summary = newest(folder)
    parts = {stage: sorted((folder / ARTIFACTS / stage).iterdir()) for stage in ("generate_batch", "query_scores")}
    parts = {stage: [path for path in paths if path.is_dir()] for stage, paths in parts.items()}
    for stage in ("evaluate", "attribute", "generate"):
        shutil.rmtree(folder / ARTIFACTS / stage)
    lost = {stage: paths[0] for stage, paths in parts.items()}
    times = {path: path.stat().st_mtime_ns for paths in parts.values() for path in paths}
    for path in lost.values():
        shutil.rmtree(path)
    tdattr(*command, folder=folder)
    for paths in parts.values():
        for path in paths:
            assert (path.stat().st_mtime_ns == times[path]) == (path not in lost.values())
    assert newest(folder)["metrics"] == summary["metrics"]
