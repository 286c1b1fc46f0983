"""Every logger gets the same: what it is told of a run while it lasts, and what it leaves."""

import csv
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.files import only_finite
from tdattr.loggers import Guarded, Logger, Recorder, Results, RunInfo, list_numbers
from tdattr.loggers.csv import CSV, Lines
from tdattr.loggers.none import NoLogger
from tdattr.loggers.several import Several
from tdattr.loggers.tensorboard import Events, TensorBoard
from tdattr.loggers.wandb import WandB
from tdattr.metrics.comparison import compare
from tdattr.overrides import choose_loggers
from tdattr.protocols.group_agreement import judge
from tdattr.protocols.lds import LDS
from tdattr.search_path import CONF
from tests.loggers.reader import read_wandb

SUMMARY: dict[str, Any] = {
    "method": "mucs",
    "seed": 2,
    "metrics": {"ssim": {"auc": 0.75, "p_value": float("nan")}},
    "overlap_percent": None,
    "flag": True,
    "grid": [{"damping": 1.0}],
}
PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
RESULTS = Results(SUMMARY, {"auc_ssim": 0.75}, {"queries": lambda: PICTURE})


def info(folder: Path | str, id: str = "0123456789abcdef") -> RunInfo:
    """A run that begins."""
    return RunInfo(Path(folder), id, "digits-edm", {"method": "mucs", "seed": 2}, {"seed": 2, "train": {"steps": 12}})


def test_the_numbers_of_a_summary() -> None:
    assert list(list_numbers(SUMMARY)) == ["seed", "metrics/ssim/auc", "metrics/ssim/p_value"]
    assert list_numbers(SUMMARY)["metrics/ssim/auc"] == 0.75


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "logger").glob("*.yaml"))])
def test_every_choice_is_a_logger(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", choose_loggers([f"logger={'[csv]' if name == 'several' else name}"]))
    if name == "several":
        cfg.logger.loggers.csv.save_dir = "somewhere"
    if "save_dir" in cfg.logger:
        cfg.logger.save_dir = "somewhere"  # a run knows its own folder, a composed config does not
    assert isinstance(build(cfg.logger, "logger"), Logger)


def fill(logger: Logger, folder: Path, results: Results = RESULTS) -> None:
    """A short run."""
    recorder = logger.start(info(folder))
    recorder.log("train", "", 50, {"loss": 0.5, "learning_rate": 0.1})
    recorder.log("unlearn", "query 0", 1, {"query_loss": 1.5})
    recorder.log("unlearn", "query 1", 1, {"query_loss": 2.5})
    recorder.show("samples", lambda: PICTURE, 50)
    logger.finish(recorder, results)


def read_csv(folder: Path) -> list[dict[str, str]]:
    """The lines of the table."""
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def read_tensorboard(folder: Path) -> EventAccumulator:
    """What TensorBoard shows of a run."""
    events = EventAccumulator(str(folder / "name" / info(folder).id))
    events.Reload()
    return events


def test_csv_leaves_a_table_and_pictures(tmp_path: Path) -> None:
    fill(CSV(str(tmp_path)), tmp_path)
    train, *unlearn, results = read_csv(tmp_path)
    assert (train["step"], train["item"], train["train/loss"], train["unlearn/query_loss"]) == ("50", "", "0.5", "")
    assert [(line["item"], line["step"], line["unlearn/query_loss"]) for line in unlearn] == [
        ("query 0", "1", "1.5"),
        ("query 1", "1", "2.5"),
    ]
    assert (results["item"], results["metrics/ssim/auc"], results["auc_ssim"]) == ("results", "0.75", "0.75")
    for name in ("queries", "samples"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{name}.png")), PICTURE)


def test_csv_goes_on_where_a_run_had_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        fill(CSV(str(tmp_path)), tmp_path)
    assert [line["item"] for line in read_csv(tmp_path)] == ["", "query 0", "query 1", "results"] * 2


@pytest.mark.parametrize("half", ["train 2 of 9,3,0.", '"2 of 9, wi', "a,2,0.5train,3,0.25,0.125\r\n"])
def test_csv_goes_on_after_a_line_that_a_full_disk_cut_off(half: str, tmp_path: Path) -> None:
    """The last of these: an older version wrote the next line behind the cut one."""
    logger = CSV(str(tmp_path))
    logger.start(info(tmp_path)).log("train", "", 1, {"loss": 0.5})
    with (tmp_path / "metrics.csv").open("a", newline="") as file:
        file.write(half)
    fill(logger, tmp_path)
    lines = [line for line in read_csv(tmp_path) if line["item"] != "a"]
    assert [line["item"] for line in lines][-1] == "results" and lines[-1]["auc_ssim"] == "0.75"
    assert lines[0]["train/loss"] == "0.5" and not any("9" in line["item"] for line in lines)


def test_tensorboard_shows_numbers_pictures_and_what_runs_are_compared_by(tmp_path: Path) -> None:
    fill(TensorBoard(str(tmp_path), "name"), tmp_path)
    events = read_tensorboard(tmp_path)
    assert [(point.step, point.value) for point in events.Scalars("train/loss")] == [(50, 0.5)]
    assert [(point.step, point.value) for point in events.Scalars("unlearn/query_loss")] == [(1, 1.5), (2, 2.5)]
    assert events.Scalars("results/auc_ssim")[-1].value == events.Scalars("summary/metrics/ssim/auc")[-1].value == 0.75
    assert all("/" in name for name in events.scalars.Keys())  # each without one would be a section of its own
    [picture] = events.Images("images/samples")
    assert picture.step == 50 and (picture.width, picture.height) == (4, 2)
    assert events.Images("images/queries")
    table = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"method" in table and b"mucs" in table
    assert b"steps: 12" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_tensorboard_has_one_folder_for_a_run_that_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        fill(TensorBoard(str(tmp_path), "name"), tmp_path)
    assert [path.name for path in (tmp_path / "name").iterdir()] == [info(tmp_path).id]
    assert len(read_tensorboard(tmp_path).Scalars("train/loss")) == 2


def test_tensorboard_counts_on_over_processes_and_attempts(tmp_path: Path) -> None:
    """Else their curves would lie on top of each other."""
    logger = TensorBoard(str(tmp_path), "name")
    for attempt in range(2):
        for process in range(2):
            recorder = logger.start(info(tmp_path))
            recorder.log("unlearn", f"query {process}", 1, {"query_loss": 10.0 * attempt + process})
            recorder.close()
    points = read_tensorboard(tmp_path).Scalars("unlearn/query_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 0), (2, 1), (3, 10), (4, 11)]


def wandb_logger(folder: Path | str, offline: bool | None = None) -> WandB:
    return WandB("project", None, None, "name", ["tag"], str(folder), offline)


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
    logger.finish(logger.start(info(tmp_path)), RESULTS)
    assert "W&B cannot be reached (no such host)" in caplog.text and "`wandb sync`" in caplog.text
    assert len(list(tmp_path.glob("wandb/offline-run*"))) == 1
    assert wandb.run is None


@pytest.mark.parametrize(("offline", "kept"), [(None, 0), (True, 1)])
def test_wandb_listens_to_its_variable_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool | None, kept: int
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fill(wandb_logger(tmp_path, offline), tmp_path)
    assert len(list(tmp_path.glob("wandb/offline-run*"))) == kept
    assert os.environ["WANDB_MODE"] == "disabled"


@pytest.mark.parametrize("make", [CSV, lambda path: TensorBoard(path, ""), wandb_logger])
def test_a_logger_that_was_abandoned_lets_the_next_one_start(make: Callable[[str], Logger], tmp_path: Path) -> None:
    """A run that is still open would take what the next one logs."""
    for name in ("first", "second"):
        logger = make(str(tmp_path / name))
        recorder = logger.start(info(tmp_path / name, id=name))
        recorder.log("train", "", 1, {"loss": 1.0})
        logger.abandon(recorder)
        assert sum(path.is_file() for path in (tmp_path / name).rglob("*"))
    assert wandb.run is None


def test_where_nothing_is_kept_there_is_nothing_to_abandon(tmp_path: Path) -> None:
    fill(NoLogger(), tmp_path)
    NoLogger().abandon(NoLogger().start(info(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_several_leave_what_each_leaves_alone(tmp_path: Path) -> None:
    node = {"loggers": {"csv": {"save_dir": str(tmp_path)}, "tensorboard": {"save_dir": str(tmp_path), "name": "name"}}}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", choose_loggers(["logger=[csv,tensorboard,none]"]))
    drawn = []

    def draw() -> np.ndarray:
        drawn.append(1)
        return PICTURE

    logger: Logger = build(OmegaConf.merge(cfg.logger, node), "logger")
    recorder = logger.start(info(tmp_path))
    recorder.log("train", "", 50, {"loss": 0.5})
    recorder.show("samples", draw, 50)
    logger.finish(recorder, RESULTS)
    assert len(drawn) == 1
    assert read_csv(tmp_path)[0]["train/loss"] == "0.5" and (tmp_path / "queries.png").exists()
    assert read_tensorboard(tmp_path).Scalars("train/loss") and read_tensorboard(tmp_path).Images("images/samples")


def test_several_are_abandoned_together_where_one_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of W&B that is still open would take what the next job of a sweep logs."""
    refusing = TensorBoard(str(tmp_path), "")

    def refuse(self: TensorBoard, run: RunInfo) -> Any:
        raise UserError("not today")

    monkeypatch.setattr(TensorBoard, "start", refuse)
    with pytest.raises(UserError, match="not today"):
        Several({"wandb": wandb_logger(str(tmp_path), True), "tensorboard": refusing}).start(info(tmp_path))
    assert wandb.run is None


def test_one_that_fails_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("gone")

    logger = Several({"tensorboard": TensorBoard(str(tmp_path), ""), "csv": CSV(str(tmp_path))})
    recorder = logger.start(info(tmp_path))
    monkeypatch.setattr(Events, "log", refuse)
    for step in range(3):
        recorder.log("train", "", step, {"loss": 0.5})
    assert caplog.text.count("logger=tensorboard takes no more numbers while the run lasts (gone)") == 1
    assert [line["step"] for line in read_csv(tmp_path)] == ["0", "1", "2"]
    for name in ("finish", "abandon"):
        monkeypatch.setattr(TensorBoard, name, refuse)
    with pytest.raises(OSError, match="gone"):
        logger.finish(recorder, RESULTS)
    assert read_csv(tmp_path)[-1]["item"] == "results" and (tmp_path / "queries.png").exists()
    with pytest.raises(OSError, match="gone"):
        logger.abandon(recorder)


def test_a_recorder_that_fails_is_asked_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """A picture that cannot be drawn costs no numbers; a signal is no failure."""
    calls = []

    class Failing(Recorder):
        def log(self, section: str, item: str, step: int, values: Any) -> None:
            calls.append(step)

        def show(self, name: str, draw: Callable[[], Any], step: int) -> None:
            draw()

    def interrupt() -> Any:
        raise KeyboardInterrupt

    recorder = Guarded(Failing(), "own")
    with pytest.raises(KeyboardInterrupt):
        recorder.show("samples", interrupt, 1)
    recorder.log("train", "", 1, {})
    with caplog.at_level(logging.WARNING):
        recorder.show("samples", lambda: 1 / 0, 2)  # type: ignore[arg-type,return-value]
        recorder.show("samples", lambda: calls.append(0), 2)  # type: ignore[arg-type,func-returns-value]
    recorder.curve("train")(3, {})
    assert calls == [1, 3]
    assert caplog.text.count("logger=own takes no more pictures while the run lasts (division by zero).") == 1


def test_an_unknown_mode_of_wandb_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"^WANDB_MODE=foo is unknown: choose online, offline, "):
        wandb_logger(tmp_path).start(info(tmp_path))


def test_several_are_some() -> None:
    with pytest.raises(UserError, match=r"logger=several holds no logger: name them, as in logger=\[csv,wandb\]"):
        Several({})
    for wrong in ({"x": 3}, 3, {"x": {"save_dir": "y"}}):
        with pytest.raises(UserError, match=r"^logger\.loggers.* must be a group of settings with a _target_"):
            build(OmegaConf.create({"_target_": "tdattr.loggers.several.Several", "loggers": wrong}), "logger")


RNG = np.random.default_rng(0)
VERDICTS = {  # of every protocol: what its summary has, and a number that it is about
    "leave_k_out": ({"metrics": {"ssim": compare(RNG.random(5), RNG.random(5)).as_dict()}}, "metrics/ssim/auc"),
    "lds": (LDS("lds", 4, 0.5, 2, 1, 10).verdict(RNG.random((4, 5)), RNG.random((4, 2, 5))).summary, "lds/mean"),
    "logo": (judge(RNG.random((5, 3)), RNG.random((5, 3)), list("abc"), 10).summary, "agreement/spearman/mean"),
}
VERDICTS["truth"] = VERDICTS["logo"]  # judged by the same function
VERDICTS["none"] = ({"k": 24}, "k")
VERDICTS["removal_loss"] = (
    {"k": 24, "rise_percent": 2.0, "excess_percent": {"mean": 1.5, "low": 1.0, "high": 2.0}},
    "excess_percent/mean",
)
VERDICTS["bank"] = (
    {
        "bank": {"lds_50": {"mean": 0.5, "low": 0.4, "high": 0.6, "ceiling": 0.9}},
        "ranking": [{"method": "this run", "lds_50": 0.5}, {"method": "das", "lds_50": None, "logo_top_1_p": 0.5}],
        "f1_difference": 1e-7,
    },
    "bank/lds_50/mean",
)


def write_csv(folder: Path, results: Results) -> dict[str, float]:
    """What the logger keeps of a summary, as its reader finds it; so are the others."""
    fill(CSV(str(folder)), folder, results)
    return pd.read_csv(folder / "metrics.csv").iloc[-1].to_dict()


def write_tensorboard(folder: Path, results: Results) -> dict[str, float]:
    fill(TensorBoard(str(folder), "name"), folder, results)
    events = read_tensorboard(folder)
    sections = ("results/", "summary/")
    named = {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"] if name.startswith(sections)}
    return {name.partition("/")[2]: value for name, value in named.items()}


def write_wandb(folder: Path, results: Results) -> dict[str, float]:
    fill(wandb_logger(folder, True), folder, results)
    [kept] = read_wandb(folder)
    summary: dict[str, float] = kept.state["summary"]
    return summary


@pytest.mark.parametrize("protocol", [path.stem for path in sorted((CONF / "protocol").glob("*.yaml"))])
@pytest.mark.parametrize("write", [write_csv, write_tensorboard, write_wandb])
def test_every_logger_keeps_the_verdict_of_every_protocol(write: Any, protocol: str, tmp_path: Path) -> None:
    verdict, main = VERDICTS[protocol]
    summary = only_finite({"method": "mucs", "seconds_per_query": 0.5, "warnings": ["few"], **verdict})
    results = Results(summary, {"headline": 0.25})
    kept = write(tmp_path, results)
    assert main in kept and kept["headline"] == 0.25
    for name, value in list_numbers(summary).items():
        assert kept[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("make", [CSV, lambda path: TensorBoard(path, "name")])
def test_what_another_process_has_logged_stays(make: Callable[[str], Logger], tmp_path: Path) -> None:
    """A loss is logged by a rank, and the results by the command's process."""
    logger = make(str(tmp_path))
    recorder = logger.start(info(tmp_path))
    rank = pickle.loads(pickle.dumps(Guarded(recorder, "own")))
    rank.log("train", "", 7, {"loss": 0.5})
    logger.finish(recorder, RESULTS)
    if isinstance(recorder, Lines):
        first, last = read_csv(tmp_path)
        assert (first["train/loss"], first["step"], first["metrics/ssim/auc"]) == ("0.5", "7", "")
        assert (last["train/loss"], last["item"], last["metrics/ssim/auc"]) == ("", "results", "0.75")
    else:
        events = read_tensorboard(tmp_path)
        assert [point.step for point in events.Scalars("train/loss")] == [7] and events.Scalars("results/auc_ssim")
