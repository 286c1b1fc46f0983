"""What a run leaves: its config as it was decided, and all else where the accuracies, which come last, fail."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import tdattr as library
from tdattr.errors import UserError
from tdattr.loggers.none import NoLogger
from tdattr.pipeline import run as running
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.saved_config import list_paths, save_config
from tdattr.pipeline.workspace import Workspace
from tdattr.store import Plan
from tests.e2e.console import TINY


def fail(*_: Any) -> dict[str, Any]:
    raise UserError("no accuracies")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Of a run whose stages make a file each, and whose accuracies fail."""
    ws = library.compose([*TINY, "method=pixel", f"paths.outputs={tmp_path}"])

    def write(folder: Path) -> None:
        (folder / "made").write_text("it")

    def plan(stage: str, make: Callable[[Path], Any] = write) -> Plan:
        return ws.store.plan(stage, 1, {}, {}, make)

    monkeypatch.setattr(running, "train", lambda ws: plan("pretrain"))
    monkeypatch.setattr(running, "generate", lambda ws, model: plan("generate"))
    monkeypatch.setattr(running, "other_methods", lambda ws: {})
    monkeypatch.setattr(running, "attribute", lambda ws, method: plan("attribute"))
    monkeypatch.setattr(running, "look_at_queries", lambda ws: None)
    monkeypatch.setattr(running, "plan_accuracy", lambda ws: plan("accuracy", fail))
    return ws


@pytest.mark.parametrize(
    ("choice", "path", "allocation"),
    [
        ("protocol=lds", "method.score", "all"),
        ("protocol=leave_k_out", "method.score", "racing"),
        ("method.score.allocation=importance", "method.score", "importance"),
        ("method=ensemble_b method.weights={mucs:1,dino:0,clip:0,condition:0}", "method.members.mucs.score", "all"),
    ],
)
def test_the_saved_config_says_what_auto_became(choice: str, path: str, allocation: str, tmp_path: Path) -> None:
    ws = library.compose([*TINY, "logger=none", "method=mucs", *choice.split(), f"paths.outputs={tmp_path}"])
    saved = save_config(ws, tmp_path / "config.yaml")
    config = OmegaConf.load(tmp_path / "config.yaml")
    assert OmegaConf.to_container(config) == saved and isinstance(config, DictConfig)
    assert OmegaConf.select(config, path).allocation == allocation
    again = open_workspace(config)
    assert attribute(again).address == attribute(ws).address
    OmegaConf.update(config, f"{path}.allocation", OmegaConf.select(ws.cfg, path).allocation)
    assert config.method == ws.cfg.method  # nothing else has changed


def test_the_saved_config_names_the_same_files_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what only looks like a file stays what it is."""
    (tmp_path / "here" / "2024").mkdir(parents=True)
    for name in ("2024/a.png", "b.png"):
        Image.new("L", (8, 8)).save(tmp_path / "here" / name)
    for name in ("ema", "label", "digits"):
        (tmp_path / "here" / name).touch()
    (tmp_path / "here" / "shown.csv").write_text("file,caption\na.png,3\nb.png,4\n")
    monkeypatch.chdir(tmp_path / "here")
    pictures = ["queries.images=[2024,b.png]", "queries.captions=shown.csv", "method=pixel", "protocol=none"]
    plain = [setting for setting in TINY if not setting.startswith("queries")]
    ws = library.compose([*plain, "logger=none", *pictures, "paths.outputs=../outputs"])
    save_config(ws, tmp_path / "config.yaml")
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.load(tmp_path / "config.yaml")
    assert isinstance(config, DictConfig)
    assert config.queries.images == [f"{tmp_path}/here/2024", f"{tmp_path}/here/b.png"]
    assert (config.weights, config.dataset.name, config.dataset.groups) == ("ema", "digits", "label")
    assert attribute(open_workspace(config)).address == attribute(ws).address


def test_a_hub_id_is_no_path_unless_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = OmegaConf.create({"model": {"weights": "a/b", "path": None}, "dataset": {"source": {"root": "raw"}}})
    assert list(list_paths(cfg)) == ["dataset.source.root"]
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert list(list_paths(cfg)) == ["model.weights", "dataset.source.root"]


def test_the_verdict_is_written_before_the_accuracies_fail(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {"auc": 0.5, "seconds_per_query": 1.0, "warnings": []}
    monkeypatch.setattr(running, "examine", lambda ws: {"healthy": 1})
    monkeypatch.setattr(running, "evaluate", lambda ws: None)
    monkeypatch.setattr(running, "summarise", lambda ws, plan: (dict(summary), ["AUC 0.5"]))
    monkeypatch.setattr(running, "save_attributions", lambda ws, path: path.write_text("query\n"))
    monkeypatch.setattr(running, "gather", lambda *arguments: None)
    monkeypatch.setattr(NoLogger, "finish", lambda *arguments: None)
    monkeypatch.setattr(running, "examine_accuracy", fail)
    logger = NoLogger()
    with pytest.raises(UserError, match="no accuracies"):
        running.work(ws, logger, ws.recorder, tmp_path, lambda *arguments: None)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary | {"healthy": 1}
    assert (tmp_path / "attributions.csv").exists()
    monkeypatch.setattr(running, "examine_accuracy", lambda ws, folder: {"accuracy": {"f1": 1}})
    running.work(ws, logger, ws.recorder, tmp_path, lambda *arguments: None)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary | {"healthy": 1, "accuracy": {"f1": 1}}


def test_scores_are_there_before_the_accuracies_fail(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    ws.until = "attribute"
    assert [plan.stage for plan in running.plan_until(ws)] == ["generate", "attribute", "accuracy"]
    with pytest.raises(UserError, match="no accuracies"):
        running.build_until(ws)
    assert running.plan_stages(ws)[-1].finished
