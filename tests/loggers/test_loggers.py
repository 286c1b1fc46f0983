"""Every logger gets the same: what it is told of a run, and what it leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from tdattr.configs import build
from tdattr.loggers import Logger, list_numbers
from tdattr.loggers.csv import CSV
from tdattr.loggers.tensorboard import TensorBoard
from tdattr.search_path import CONF

SUMMARY: dict[str, Any] = {
    "method": "mucs",
    "seed": 2,
    "metrics": {"ssim": {"auc": 0.75, "p_value": float("nan")}},
    "overlap_percent": None,
    "flag": True,
    "grid": [{"damping": 1.0}],
}
PICTURES = {"queries": np.arange(24, dtype=np.uint8).reshape(2, 4, 3)}


def test_the_numbers_of_a_summary() -> None:
    assert list(list_numbers(SUMMARY)) == ["seed", "metrics/ssim/auc", "metrics/ssim/p_value"]
    assert list_numbers(SUMMARY)["metrics/ssim/auc"] == 0.75


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "logger").glob("*.yaml"))])
def test_every_choice_is_a_logger(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"logger={name}"])
    if "save_dir" in cfg.logger:
        cfg.logger.save_dir = "somewhere"  # a run knows its own folder, a composed config does not
    assert isinstance(build(cfg.logger, "logger"), Logger)


def test_csv_leaves_a_table_and_pictures(tmp_path: Path) -> None:
    logger = CSV(str(tmp_path), "", "metrics")
    logger.finish(logger.start(), {}, SUMMARY, PICTURES)
    head, line = (tmp_path / "metrics" / "metrics.csv").read_text().splitlines()
    assert dict(zip(head.split(","), line.split(","), strict=True))["metrics/ssim/auc"] == "0.75"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "metrics" / "queries.png")), PICTURES["queries"])


def test_tensorboard_leaves_the_config(tmp_path: Path) -> None:
    logger = TensorBoard(str(tmp_path), "name")
    logger.finish(logger.start(), {"seed": 2}, SUMMARY, PICTURES)
    assert list(tmp_path.glob("name/version_0/events*"))
