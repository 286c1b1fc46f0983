"""What a command tells its loggers, read back from what they wrote."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tdattr.experiments import name_experiment
from tdattr.training import recording
from tests.e2e.console import MUCS, TINY, tdattr
from tests.loggers.reader import Kept, read_wandb

RUN = ["method=mucs", *TINY, *MUCS, "logger=[csv,tensorboard,wandb]", "logger.loggers.wandb.offline=true"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was started twice; the second time nothing was left to compute."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "LEAST_SECONDS", 0.0)
        for _ in range(2):
            tdattr(*RUN, "hydra.run.dir=outputs/runs/one", folder=folder)
    return folder / "outputs" / "runs" / "one"


@pytest.fixture(scope="module")
def kept(run: Path) -> list[Kept]:
    return read_wandb(run)


@pytest.fixture(scope="module")
def events(run: Path) -> EventAccumulator:
    [folder] = run.parents[1].glob("tensorboard/digits-mucs-seed1/*")
    assert folder.name == (run / "run_id").read_text().strip()
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def read_summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def test_the_second_start_goes_on_in_the_same_run(run: Path, kept: list[Kept]) -> None:
    assert [attempt.state["run_id"] for attempt in kept] == [(run / "run_id").read_text().strip()] * 2
    assert [attempt.series("attempt") != [] for attempt in kept] == [False, True]


def test_the_columns_and_the_group(run: Path, kept: list[Kept]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    columns = dict(kept[0].state["config"])
    assert columns.pop("config")["train"] == config["train"]
    assert columns == {
        "dataset": "digits",
        "model": "dit_tiny",
        "diffusion": "edm",
        "method": "mucs",
        "ablation": "none",
        "protocol": "leave_k_out",
        "seed": 1,
        "learning_rate": config["train"]["learning_rate"],
        "steps": 12,
        "k": read_summary(run)["k"],
        "lambda": 0.2,
        "unlearning_rate": pytest.approx(0.1 * config["train"]["learning_rate"]),
    }
    assert kept[0].of("run")[0]["run_group"] == name_experiment(config)
    [tables] = (run / "report" / "tables").iterdir()
    assert tables.name == name_experiment(config)  # the report calls the experiment so too


def test_a_training_and_unlearnings_can_be_followed(run: Path, kept: list[Kept], events: EventAccumulator) -> None:
    [first, _] = kept
    losses = [(item["train/step"], item["train/loss"]) for item in first.series("train/loss")]
    assert [step for step, _ in losses] == list(range(1, 13))
    shown = [(point.step, point.value) for point in events.Scalars("train/loss")]
    assert shown == [(step, pytest.approx(loss)) for step, loss in losses]
    lines = list(csv.DictReader((run / "metrics" / "metrics.csv").read_text().splitlines()))
    assert [float(line["train/loss"]) for line in lines if line["train/loss"]] == [loss for _, loss in losses]
    for name in ("learning_rate", "images_per_second", "peak_memory_gib"):
        assert len(first.series(f"train/{name}")) == len(events.Scalars(f"train/{name}")) == 12

    curve = first.series("unlearn/query_loss")
    expected = [(f"query {query}", step) for query in range(3) for step in (1, 2, 3)]
    assert [(item["unlearn/item"], item["unlearn/step"]) for item in curve] == expected
    for name in ("retained_loss", "share_of_null_loss"):
        assert len(first.series(f"unlearn/{name}")) == len(events.Scalars(f"unlearn/{name}")) == 9
    stops = [(item["query/step"], item["query/unlearning_steps"]) for item in first.series("query/unlearning_steps")]
    assert stops == [(0, 3.0), (1, 3.0), (2, 3.0)]
    retrained = {item["retrain/item"] for item in first.series("retrain/loss")}
    assert len(retrained) == 2 and all(item.startswith("Retraining ") for item in retrained)


def test_pictures_of_all_that_is_generated(run: Path, kept: list[Kept], events: EventAccumulator) -> None:
    for name in ("samples", "queries", "regenerated", "regenerated_random", "attributions"):
        assert kept[0].series(f"images/{name}"), name
        assert events.Images(f"images/{name}"), name
        assert np.asarray(Image.open(run / "metrics" / f"{name}.png")).ndim == 3, name


def test_the_results(run: Path, kept: list[Kept]) -> None:
    summary = read_summary(run)
    for attempt in kept:
        state = attempt.state["summary"]
        assert state["auc_ssim"] == state["metrics/ssim/auc"] == summary["metrics"]["ssim"]["auc"]
        assert state["auc_ssim_low"] <= state["auc_ssim"] <= state["auc_ssim_high"]
        files = attempt.artifacts[f"report-{attempt.state['run_id']}"]
        assert {"report/index.html", "summary.json", "config.yaml", "attributions.csv", "queries.csv"} <= set(files)


def test_the_attributed_examples(run: Path, kept: list[Kept]) -> None:
    [first, _] = kept
    files = first.artifacts[f"run-{first.state['run_id']}-attributions"]
    table = json.loads(files["attributions.table.json"].read_text())
    stored = list(csv.DictReader((run / "attributions.csv").read_text().splitlines()))
    for query, row in enumerate(table["data"]):
        cells = dict(zip(table["columns"], row, strict=True))
        assert cells["query"] == query and {"image", "regenerated", "1", "8"} <= {
            column for column, cell in cells.items() if isinstance(cell, dict) and cell["_type"] == "image-file"
        }
        assert (cells["unlearning_steps"], cells["capped"]) == (3, 1) and "ssim_random" in cells
        best = [line for line in stored if line["query"] == str(query)][:8]
        assert [cells[f"{rank} id"] for rank in range(1, 9)] == [int(line["id"]) for line in best]
        assert [cells[f"{rank} score"] for rank in range(1, 9)] == [
            pytest.approx(float(line["score"])) for line in best
        ]
