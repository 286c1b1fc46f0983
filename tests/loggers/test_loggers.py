"""Every logger gets the same: what it is told of a run, and what it leaves."""

import csv
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.files import only_finite
from tdattr.loggers import Logger, list_numbers
from tdattr.loggers.csv import CSV
from tdattr.loggers.none import NoLogger
from tdattr.loggers.several import Several
from tdattr.loggers.tensorboard import TensorBoard
from tdattr.loggers.wandb import WandB
from tdattr.metrics.comparison import compare
from tdattr.overrides import choose_loggers
from tdattr.protocols.group_agreement import judge
from tdattr.protocols.lds import LDS
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
        cfg = compose("config", choose_loggers([f"logger={'[csv]' if name == 'several' else name}"]))
    if name == "several":
        cfg.logger.loggers.csv.save_dir = "somewhere"
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


def wandb_logger(folder: Path | str, offline: bool | None = None) -> WandB:
    return WandB("project", None, "group", "name", ["tag"], str(folder), offline)


def test_wandb_without_a_network_is_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    begin = wandb.init

    def refuse(**settings: Any) -> Any:
        if settings["mode"] == "online":
            raise wandb.errors.CommError("no such host")
        return begin(**settings)

    monkeypatch.setattr(wandb, "init", refuse)
    logger = wandb_logger(tmp_path)
    logger.finish(logger.start(), {"seed": 2}, SUMMARY, PICTURES)
    assert "W&B cannot be reached (no such host)" in caplog.text and "`wandb sync`" in caplog.text
    assert len(list(tmp_path.glob("wandb/offline-run*"))) == 1
    assert wandb.run is None


@pytest.mark.parametrize(("offline", "kept"), [(None, 0), (True, 1)])
def test_wandb_listens_to_its_variable_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool | None, kept: int
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = wandb_logger(tmp_path, offline)
    logger.finish(logger.start(), {"seed": 2}, SUMMARY, PICTURES)
    assert len(list(tmp_path.glob("wandb/offline-run*"))) == kept
    assert os.environ["WANDB_MODE"] == "disabled"


@pytest.mark.parametrize("make", [lambda path: CSV(path, "", ""), lambda path: TensorBoard(path, ""), wandb_logger])
def test_a_logger_that_was_abandoned_lets_the_next_one_start(make: Callable[[str], Logger], tmp_path: Path) -> None:
    """A run that is still open would take what the next one logs."""
    for name in ("first", "second"):
        logger = make(str(tmp_path / name))
        started = logger.start()
        started.log_metrics({"loss": 1.0}, 1)
        logger.abandon(started)
        assert sum(path.is_file() for path in (tmp_path / name).rglob("*"))
    assert wandb.run is None


def test_where_no_losses_are_kept_there_is_nothing_to_abandon() -> None:
    NoLogger().abandon(NoLogger().start())


def test_several_leave_what_each_leaves_alone(tmp_path: Path) -> None:
    node = {"loggers": {"csv": {"save_dir": str(tmp_path)}, "tensorboard": {"save_dir": str(tmp_path)}, "none": {}}}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", choose_loggers(["logger=[csv,tensorboard,none]"]))
    logger = build(OmegaConf.merge(cfg.logger, node), "logger")
    started = logger.start()
    assert [type(part) for part in started] == [CSVLogger, TensorBoardLogger]  # which Lightning's trainer takes
    logger.finish(started, {"seed": 2}, SUMMARY, PICTURES)
    assert (tmp_path / "metrics" / "metrics.csv").exists() and (tmp_path / "metrics" / "queries.png").exists()
    assert list(tmp_path.rglob("events*"))


def test_several_are_abandoned_together_where_one_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of W&B that is still open would take what the next job of a sweep logs."""
    refusing = TensorBoard(str(tmp_path), "")

    def refuse(self: TensorBoard) -> Any:
        raise UserError("not today")

    monkeypatch.setattr(TensorBoard, "start", refuse)
    with pytest.raises(UserError, match="not today"):
        Several({"wandb": wandb_logger(str(tmp_path), True), "tensorboard": refusing}).start()
    assert wandb.run is None


def test_one_that_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: TensorBoard, *_: Any) -> None:
        raise OSError("gone")

    logger = Several({"tensorboard": TensorBoard(str(tmp_path), ""), "csv": CSV(str(tmp_path), "", "metrics")})
    started = logger.start()
    for name in ("finish", "abandon"):
        monkeypatch.setattr(TensorBoard, name, refuse)
    with pytest.raises(OSError, match="gone"):
        logger.finish(started, {"seed": 2}, SUMMARY, PICTURES)
    assert (tmp_path / "metrics" / "metrics.csv").exists() and (tmp_path / "metrics" / "queries.png").exists()
    with pytest.raises(OSError, match="gone"):
        logger.abandon(started)


def test_an_unknown_mode_of_wandb_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"^WANDB_MODE=foo is unknown: choose online, offline, "):
        wandb_logger(tmp_path).start()


def test_several_are_some() -> None:
    with pytest.raises(UserError, match=r"logger=several holds no logger: name them, as in logger=\[csv,wandb\]"):
        Several({})
    for wrong in ({"x": 3}, 3, {"x": {"save_dir": "y"}}):
        with pytest.raises(UserError, match=r"^logger\.loggers.* must be a group of settings with a _target_"):
            build(OmegaConf.create({"_target_": "tdattr.loggers.several.Several", "loggers": wrong}), "logger")


RNG = np.random.default_rng(0)
VERDICTS = {  # of every protocol: what its summary has, and a number that it is about
    "leave_k_out": ({"metrics": {"ssim": compare(RNG.random(5), RNG.random(5)).as_dict()}}, "metrics/ssim/auc"),
    "lds": (LDS("lds", 4, 0.5, 1, 1, 10).verdict(RNG.random((4, 5)), RNG.random((4, 5))).summary, "lds/mean"),
    "logo": (judge(RNG.random((5, 3)), RNG.random((5, 3)), list("abc"), 10).summary, "agreement/spearman/mean"),
}
VERDICTS["truth"] = VERDICTS["logo"]  # judged by the same function


def write_csv(folder: Path, summary: dict[str, Any]) -> dict[str, float]:
    """What the logger keeps of a summary, as its reader finds it; so are the others."""
    logger = CSV(str(folder), "", "metrics")
    logger.finish(logger.start(), {}, summary, {})
    return pd.read_csv(folder / "metrics" / "metrics.csv").iloc[-1].to_dict()


def write_tensorboard(folder: Path, summary: dict[str, Any]) -> dict[str, float]:
    logger = TensorBoard(str(folder), "name")
    logger.finish(logger.start(), {}, summary, {})
    events = EventAccumulator(str(folder / "name" / "version_0"))
    events.Reload()
    return {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}


def write_wandb(folder: Path, summary: dict[str, Any]) -> dict[str, float]:
    kept: dict[str, float] = {}
    table: list[Any] = []
    run = SimpleNamespace(config=SimpleNamespace(update=lambda *_, **__: None), summary=kept, finish=lambda: None)
    started = SimpleNamespace(experiment=run, log_table=lambda *_, columns, data: table.extend([columns, *data]))
    WandB("p", None, "g", "n", [], str(folder), True).finish(started, {}, summary, {})
    assert dict(zip(*table, strict=True)) == kept
    return kept


@pytest.mark.parametrize("protocol", [path.stem for path in sorted((CONF / "protocol").glob("*.yaml"))])
@pytest.mark.parametrize("write", [write_csv, write_tensorboard, write_wandb])
def test_every_logger_keeps_the_verdict_of_every_protocol(write: Any, protocol: str, tmp_path: Path) -> None:
    verdict, main = VERDICTS[protocol]
    summary = only_finite({"method": "mucs", "seconds_per_query": 0.5, "warnings": ["few"], **verdict})
    kept = write(tmp_path, summary)
    assert main in kept
    for name, value in list_numbers(summary).items():
        assert kept[name] == pytest.approx(value, rel=1e-6), name


def from_rank(logger: Logger) -> None:
    """A loss is logged by another process, and the results by this one."""
    started = logger.start()
    rank = pickle.loads(pickle.dumps(started))
    rank.log_metrics({"loss": 0.5}, 7)
    rank.finalize("success")
    logger.finish(started, {"seed": 2}, SUMMARY, PICTURES)


def test_csv_keeps_what_ranks_have_logged(tmp_path: Path) -> None:
    from_rank(CSV(str(tmp_path), "", "metrics"))
    first, last = csv.DictReader((tmp_path / "metrics" / "metrics.csv").read_text().splitlines())
    assert (first["loss"], first["step"], first["metrics/ssim/auc"]) == ("0.5", "7", "")
    assert (last["loss"], last["step"], last["metrics/ssim/auc"]) == ("", "1", "0.75")


def test_tensorboard_has_one_folder_for_ranks_and_results(tmp_path: Path) -> None:
    for number in range(2):
        from_rank(TensorBoard(str(tmp_path), "name"))
        assert len(list((tmp_path / "name").iterdir())) == number + 1
        assert len(list((tmp_path / "name" / f"version_{number}").glob("events*"))) >= 2
