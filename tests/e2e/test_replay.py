"""``tdattr --config RUN/config.yaml`` repeats a run from anywhere: the same artifacts, by their addresses."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tdattr import explain
from tests.e2e.console import TINY, tdattr

PICTURES = [setting for setting in TINY if not setting.startswith("queries")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands were given: two training pictures of each group, and one that is explained."""
    folder = tmp_path_factory.mktemp("here")
    rng = np.random.default_rng(0)
    for name in ("photos/a/1.png", "photos/a/2.png", "photos/b/1.png", "photos/b/2.png", "made.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8)).save(folder / name)
    return folder


def find_runs(folder: Path) -> set[Path]:
    return {path.parent for path in folder.glob("outputs/runs/**/summary.json")}


def run(folder: Path, *arguments: str) -> list[Path]:
    """The folders of a command's runs."""
    before = find_runs(folder)
    tdattr(*arguments, folder=folder)
    return sorted(find_runs(folder) - before)


def repeat(run: Path, place: Path, *further: str) -> tuple[str, dict]:
    """What the command that repeats a run says in another folder, and the summary that it leaves beside the run's."""
    outputs = next(parent for parent in run.parents if parent.name == "outputs")
    before = find_runs(outputs.parent)
    said = tdattr("--config", f"{run}/config.yaml", *further, folder=place).stderr
    assert not (place / "outputs").exists()
    (new,) = find_runs(outputs.parent) - before
    return said, json.loads((new / "summary.json").read_text())


def read(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_a_run_is_repeated_from_any_folder(folder: Path, tmp_path: Path) -> None:
    (first,) = run(folder, *TINY, "method=pixel", "protocol.k=5", "logger=[csv,tensorboard]")
    said, summary = repeat(first, tmp_path)
    assert "nothing was computed" in said and summary == read(first)
    assert said.startswith("The same as: tdattr ") and f"paths.outputs={folder}/outputs" in said.replace('"', "")
    _, other = repeat(first, tmp_path, "seed=2", "protocol=none", "method=random", "logger=none")
    assert (other["seed"], other["protocol"], other["method"]) == (2, "none", "random")
    planned = tdattr(f"--config={first}/config.yaml", "plan=true", "seed=7", folder=tmp_path)
    assert "to build" in planned.stdout and planned.stderr.count("The same as: tdattr") == 1
    assert len(run_from(first, tmp_path, folder, "-m", "seed=1,2", "protocol=none")) == 2


def run_from(first: Path, place: Path, folder: Path, *further: str) -> set[Path]:
    """The runs of a command with the config of another."""
    before = find_runs(folder)
    tdattr("--config", f"{first}/config.yaml", *further, folder=place)
    return find_runs(folder) - before


def test_a_job_of_a_sweep_is_repeated_alone(folder: Path, tmp_path: Path) -> None:
    jobs = run(folder, "-m", *TINY, "method=pixel,random", "protocol=none", "seed=3")
    assert len(jobs) == 2
    for job in jobs:
        said, summary = repeat(job, tmp_path)
        assert "nothing was computed" in said and summary == read(job)


def test_what_tdattr_explain_has_run_is_repeated(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures and its data were named as they lay there."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TDATTR_OUTPUTS", raising=False)
    small = [setting for setting in PICTURES if "dataset" not in setting and "train.steps" not in setting]
    small += ["dataset.source.condition=none", "dataset.source.resolution=8", "train.steps=4"]
    monkeypatch.setattr(sys, "argv", ["tdattr-explain", "made.png", "--data", "photos", "--method", "pixel", *small])
    before = find_runs(folder)
    explain.main()
    (first,) = find_runs(folder) - before
    said, summary = repeat(first, tmp_path)
    assert "nothing was computed" in said and summary["artifacts"] == read(first)["artifacts"]
    assert summary["pictures"] == read(first)["pictures"]


def test_a_value_that_was_another_default_then_is_kept(folder: Path, tmp_path: Path) -> None:
    (first,) = run(folder, *TINY, "method=pixel", "protocol=none", "seed=5")
    (other,) = run(folder, *TINY, "method=pixel", "protocol=none", "seed=5", "train.learning_rate=0.00037")
    older = tmp_path / "older"
    shutil.copytree(other, older)
    shutil.copy(first / ".hydra" / "overrides.yaml", older / ".hydra" / "overrides.yaml")
    before = find_runs(folder)
    said = tdattr("--config", f"{older}/config.yaml", folder=tmp_path).stderr
    (new,) = find_runs(folder) - before
    assert "train.learning_rate=0.00037" in said and read(new)["artifacts"] == read(other)["artifacts"]
