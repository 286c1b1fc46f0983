"""What W&B gets, read back by W&B's own reader."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from tdattr.loggers import Recorder, Results, RunInfo
from tdattr.loggers.wandb import DATA, History, WandB
from tests.loggers.reader import Kept, read_wandb

PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
COLUMNS: dict[str, str | float] = {"method": "mucs", "seed": 2, "lambda": 0.2, "k": 5}
CONFIG = {"seed": 2, "method": {"name": "mucs", "unlearn": {"weight": 0.2}}}
TABLE = {"query": [0, 1], "image": [PICTURE, PICTURE], "1": [PICTURE, PICTURE], "1 id": [7, 3], "1 score": [0.5, 0.25]}


def info(folder: Path, id: str = "0123456789abcdef") -> RunInfo:
    return RunInfo(folder, id, "digits-edm-abc123", COLUMNS, CONFIG)


def logger_in(folder: Path, group: str | None = None) -> WandB:
    return WandB("project", None, group, "mucs-seed2", ["digits"], str(folder), True)


def unlearn(recorder: Recorder, query: int, losses: list[float]) -> None:
    curve = recorder.curve("unlearn", f"query {query}")
    for step, loss in enumerate(losses, start=1):
        curve(step, {"query_loss": loss, "learning_rate": 0.1})
    recorder.log("query", "", query, {"unlearning_steps": float(len(losses))})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed while it unlearned its second query, and then started again."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("<html></html>")
    first = logger_in(folder).start(info(folder))
    for step in (50, 100):
        first.log("train", "", step, {"loss": 1 / step, "images_per_second": 9.0})
    first.show("samples", lambda: PICTURE, 100)
    unlearn(first, 0, [1.0, 2.0])
    first.curve("unlearn", "query 1")(1, {"query_loss": 9.0, "learning_rate": 0.1})
    first.run.finish(exit_code=1)  # of a killed one nothing else is known
    with first.path.open("a") as file:
        file.write('\n{"item": "qu')
    second = logger_in(folder).start(info(folder))
    unlearn(second, 1, [3.0, 4.0, 5.0])
    summary = {"metrics": {"ssim": {"auc": 0.75}}}
    results = Results(
        summary,
        {"auc_ssim": 0.75},
        {"queries": lambda: PICTURE},
        lambda: TABLE,
        lambda: list_files(folder),
        lambda: {"query": [0, 0], "item": [7, None], "score": [0.5, 0.25]},
    )
    logger_in(folder).finish(second, results)
    return folder


def list_files(folder: Path) -> list[Path]:
    return [folder / "report" / "index.html"]


@pytest.fixture(scope="module")
def attempts(folder: Path) -> list[Kept]:
    return read_wandb(folder)


def test_a_run_that_goes_on_has_the_same_id_in_two_folders(attempts: list[Kept]) -> None:
    assert [kept.state["run_id"] for kept in attempts] == ["0123456789abcdef"] * 2
    assert [kept.state["exit_code"] for kept in attempts] == [1, 0]
    assert all(kept.of("run")[0]["resume"] for kept in attempts)  # W&B adds to a run that it has
    assert wandb.run is None


def test_its_steps_go_on_too(attempts: list[Kept]) -> None:
    """W&B keeps one line for every step: the second attempt must not begin with 0."""
    steps = [record["step"].get("num", 0) for kept in attempts for record in kept.of("history")]
    assert steps == sorted(set(steps)) and steps[0] == 0
    assert [item["attempt"] for item in attempts[1].series("attempt")] == [2]


def test_runs_are_grouped_and_have_columns_without_nesting(attempts: list[Kept], tmp_path: Path) -> None:
    for kept in attempts:
        assert kept.of("run")[0]["run_group"] == "digits-edm-abc123"
        config = {name: kept.state["config"][name] for name in COLUMNS}
        assert config == COLUMNS
        assert kept.state["config"]["config"] == CONFIG
        assert kept.state["name"] == "mucs-seed2" and kept.state["tags"] == ["digits"]
    logger = logger_in(tmp_path, group="own")
    logger.abandon(logger.start(info(tmp_path)))
    [kept] = read_wandb(tmp_path)
    assert kept.of("run")[0]["run_group"] == "own"


def test_numbers_have_an_axis_of_their_own(attempts: list[Kept]) -> None:
    assert [(item["train/step"], item["train/loss"]) for item in attempts[0].series("train/loss")] == [
        (50, 0.02),
        (100, 0.01),
    ]
    axes = {metric["glob_name"]: metric["step_metric"] for metric in attempts[0].of("metric") if "glob_name" in metric}
    assert axes["train/*"] == "train/step" and axes["query/*"] == "query/step"
    assert "unlearn/*" not in axes  # one query after another, along W&B's own steps


def test_unlearning_curves_and_where_they_end(attempts: list[Kept]) -> None:
    curve = [
        (item["unlearn/item"], item["unlearn/step"], item["unlearn/query_loss"])
        for item in attempts[1].series("unlearn/query_loss")
    ]
    assert curve == [("query 1", 1, 3.0), ("query 1", 2, 4.0), ("query 1", 3, 5.0)]
    ends = [
        (item["query/step"], item["query/unlearning_steps"])
        for kept in attempts
        for item in kept.series("query/unlearning_steps")
    ]
    assert ends == [(0, 2.0), (1, 3.0)]


def test_all_queries_are_laid_over_one_another_at_the_end(attempts: list[Kept]) -> None:
    """Those of the first attempt too; the query that it had begun counts as the second one found it."""
    table = attempts[1].table("unlearn/query_loss_by_item_table")
    rows = {(row[1], row[0]): row[2] for row in table["data"]}
    assert table["columns"] == ["step", "lineKey", "lineVal"]
    assert rows == {
        ("query 0", 1): 1.0,
        ("query 0", 2): 2.0,
        ("query 1", 1): 3.0,
        ("query 1", 2): 4.0,
        ("query 1", 3): 5.0,
    }
    assert not attempts[1].series("unlearn/learning_rate_by_item_table")


def test_pictures(attempts: list[Kept]) -> None:
    [samples] = attempts[0].series("images/samples")
    assert samples["images/samples.caption"] == "step 100"
    assert (attempts[0].folder / "files" / samples["images/samples.path"]).exists()
    [queries] = attempts[1].series("images/queries")
    assert queries["images/queries.caption"] == "what F1 generates for the queries"


def test_the_attributions_are_a_table_with_images(attempts: list[Kept]) -> None:
    files = attempts[1].artifacts["run-0123456789abcdef-attributions"]
    table = json.loads(files["attributions.table.json"].read_text())
    assert table["columns"] == list(TABLE)
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (first["query"], first["1 id"], first["1 score"]) == (0, 7, 0.5)
    for column in ("image", "1"):
        assert first[column]["_type"] == "image-file" and files[first[column]["path"]].exists()


def test_the_highest_scores_are_a_table_of_their_own(attempts: list[Kept]) -> None:
    files = attempts[1].artifacts["run-0123456789abcdef-scores"]
    table = json.loads(files["scores.table.json"].read_text())
    assert table["columns"] == ["query", "item", "score"] and table["data"] == [[0, 7, 0.5], [0, None, 0.25]]


def test_the_results_are_the_summary(attempts: list[Kept]) -> None:
    summary: Mapping[str, Any] = attempts[1].state["summary"]
    assert summary["metrics/ssim/auc"] == summary["auc_ssim"] == 0.75


def test_the_files_of_the_report_are_an_artifact(attempts: list[Kept], folder: Path) -> None:
    """What is still to be uploaded lies in the run's folder, wherever the home is."""
    files = attempts[1].artifacts["report-0123456789abcdef"]
    assert list(files) == ["report/index.html"]
    for artifact in attempts[1].artifacts.values():
        for path in artifact.values():
            assert path.is_relative_to(folder) and path.exists()


def test_the_place_of_such_files_is_left_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    monkeypatch.setenv(DATA, str(own))
    logger = logger_in(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").touch()
    logger.finish(logger.start(info(tmp_path)), Results({}, files=lambda: list_files(tmp_path)))
    [kept] = read_wandb(tmp_path)
    [path] = kept.artifacts["report-0123456789abcdef"].values()
    assert path.is_relative_to(own)


@pytest.mark.slow  # a command of W&B's takes seconds to start
def test_wandb_sync_takes_both_folders(folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(folder / "wandb")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Would sync 2 run(s)" in done.stdout + done.stderr


def log_elsewhere(recorder: History) -> None:
    recorder.log("train", "", 50, {"loss": 0.5})
    recorder.log("retrain", "first", 1, {"loss": 0.25})


@pytest.mark.slow  # a process that imports W&B
def test_another_process_logs_into_the_same_run(tmp_path: Path) -> None:
    """As the first rank of a training on several devices does."""
    logger = logger_in(tmp_path)
    recorder = logger.start(info(tmp_path))
    process = multiprocessing.get_context("spawn").Process(target=log_elsewhere, args=(recorder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    recorder.log("retrain", "second", 1, {"loss": 0.75})
    logger.finish(recorder, Results({"lds": 0.5}))
    [kept] = read_wandb(tmp_path)
    assert [item["train/loss"] for item in kept.series("train/loss")] == [0.5]
    assert [row[1] for row in kept.table("retrain/loss_by_item_table")["data"]] == ["first", "second"]
    assert kept.state["exit_code"] == 0 and kept.state["summary"]["lds"] == 0.5
