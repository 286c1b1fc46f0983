"""The whole chain from one command, at toy scale: artifacts are shared, results reproduced, a kill costs nothing."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tdattr.report.collect import IMPORTED
from tests.e2e.console import MUCS, TINY, tdattr


def summaries(folder: Path) -> dict[str, dict]:
    """The newest summary of every method."""
    paths = sorted(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return {json.loads(path.read_text())["method"]: json.loads(path.read_text()) for path in paths}


def finished(outputs: Path, stage: str) -> list[Path]:
    """The finished artifacts of a stage."""
    return [path for path in outputs.glob(f"artifacts/{stage}/*") if not path.name.startswith(".")]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which random and pixel, then mucs were run."""
    folder = tmp_path_factory.mktemp("swept")
    sweep = tdattr("-m", "method=random,pixel", *TINY, folder=folder)
    single = tdattr("method=mucs", *TINY, *MUCS, folder=folder)
    return folder, sweep, single


def test_a_sweep_trains_f1_and_the_random_baseline_once(swept):
    folder, sweep, single = swept
    assert len(finished(folder / "outputs", "pretrain")) == 4  # F1, and without random's, pixel's and mucs's items
    assert sweep.stderr.count("Training F1: 12 steps") == 1
    assert "Training F1" not in single.stderr
    lines = [line for line in single.stderr.splitlines() if line.startswith("Retraining") and "steps" in line]
    assert len(lines) == 1


def test_the_summary_holds_what_was_promised(swept):
    folder, _, _ = swept
    found = summaries(folder)
    assert set(found) == {"random", "pixel", "mucs"}
    for name, summary in found.items():
        expected = {
            "dataset": "digits",
            "model": "dit_tiny",
            "diffusion": "edm",
            "method": name,
            "protocol": "leave_k_out",
        }
        assert expected.items() <= summary.items()
        assert summary["seed"] == 1
        assert summary["k"] == round(0.02 * summary["num_items"])
        assert summary["num_queries"] == 3
        effect = {"auc", "p_value", "difference_percent", "ci95", "small_median", "queries"}
        assert set(summary["metrics"]["ssim"]) == set(summary["control"]["ssim"]) == effect
        assert summary["seconds_per_query"] > 0
        assert all((folder / "outputs/artifacts" / artifact).is_dir() for artifact in summary["artifacts"].values())
    assert found["random"]["metrics"]["ssim"]["auc"] == 0.5


def test_unlearning_that_was_cut_short_is_a_warning(swept):
    folder, _, single = swept
    mucs = summaries(folder)["mucs"]
    assert mucs["facts"]["capped"] == 1  # after three steps
    [said] = [warning for warning in mucs["warnings"] if "max_steps" in warning]
    assert said in single.stderr


def test_a_verdict_on_images_unlike_the_data_comes_with_warnings(swept):
    folder, _, single = swept
    words = "100 % of the queries are less like the training items than 99 % of held-out items are"
    for summary in summaries(folder).values():
        assert summary["far_queries"] == 1
        assert any(words in warning for warning in summary["warnings"])
        assert "The verdict stands on 3 queries, fewer than 10: raise queries.attributed." in summary["warnings"]
    assert single.stderr.index(words) < single.stderr.index("Retraining") < single.stderr.rindex(words)
    again = tdattr("method=pixel", *TINY, "health.far=1", folder=folder)
    assert "nothing was computed" in again.stderr and words not in again.stderr
    assert "The verdict stands on 3 queries, fewer than 10" in again.stderr
    done = tdattr(folder=folder, command="report")
    assert "F1's images are far from its data: 100 % (seed 1)" in done.stdout
    assert 'class="warning">F1' in (folder / "outputs/report/index.html").read_text()


def test_a_second_identical_command_does_no_work_and_says_so(swept):
    folder, _, _ = swept
    before = {path: path.stat().st_mtime for path in folder.glob("outputs/artifacts/**/*")}
    again = tdattr("method=mucs", *TINY, *MUCS, folder=folder)
    assert "nothing was computed" in again.stderr
    assert before == {path: path.stat().st_mtime for path in folder.glob("outputs/artifacts/**/*")}


def test_the_report_shows_every_method_and_needs_no_other_file(swept):
    folder, _, _ = swept
    done = tdattr(folder=folder, command="report")
    assert "mucs" in done.stdout
    page = (folder / "outputs/report/index.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    table = pd.read_csv(folder / "outputs/report/table.csv")
    assert set(table["method"]) >= {"random", "pixel"}


def test_results_from_another_folder_with_other_batch_sizes_and_workers_are_the_same(swept, tmp_path):
    folder, _, _ = swept
    other = ["trainer.scoring_batch=7", "trainer.workers=1", "queries.batch_size=2"]
    tdattr("method=mucs", *TINY, *MUCS, *other, folder=tmp_path)
    first, second = summaries(folder)["mucs"], summaries(tmp_path)["mucs"]
    assert first["artifacts"] == second["artifacts"]
    pairs = [("model", "ema"), ("queries", "images"), ("scores", "scores"), ("regenerated", "images")]
    for role, file in pairs:
        values = [
            load_file(where / "outputs/artifacts" / summary["artifacts"][role] / f"{file}.safetensors")
            for where, summary in ((folder, first), (tmp_path, second))
        ]
        for key in values[0]:
            torch.testing.assert_close(values[0][key], values[1][key], atol=1e-4, rtol=1e-4)
    weights = [
        load_file(where / "outputs/artifacts" / first["artifacts"]["model"] / "raw.safetensors")
        for where in (folder, tmp_path)
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_retraining_with_nothing_removed_gives_the_same_weights_and_images(swept, tmp_path):
    """In another store and in the other order, so that it really is trained again."""
    folder, _, _ = swept
    found = summaries(folder)["pixel"]["artifacts"]
    again = [*TINY, "train.coupled=false", f"paths.outputs={tmp_path}"]
    assert "Training F1" in tdattr("method=pixel", *again, folder=folder).stderr
    [path] = tmp_path.glob("runs/**/summary.json")
    other = json.loads(path.read_text())["artifacts"]
    assert other["model"] == found["model"]
    assert other["regenerated"] != found["regenerated"]
    for role, file in (("model", "raw"), ("model", "ema"), ("queries", "images")):
        first = load_file(folder / "outputs/artifacts" / found[role] / f"{file}.safetensors")
        second = load_file(tmp_path / "artifacts" / other[role] / f"{file}.safetensors")
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_killed_run_goes_on_and_leaves_no_half_artifact(swept, tmp_path):
    folder, _, _ = swept
    code = "import sys; from tdattr.cli import main; sys.argv[0] = 'tdattr'; main()"
    long = [argument for argument in TINY if not argument.startswith("train.")]
    long += [
        "train.steps=400",
        "train.epoch_steps=20",
        "train.batch_size=8",
        "method=pixel",
        f"paths.outputs={tmp_path}",
    ]
    process = subprocess.Popen([sys.executable, "-c", code, *long], cwd=folder, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not list(tmp_path.glob("artifacts/pretrain/.*.unfinished/resume.ckpt")) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not finished(tmp_path, "pretrain")
    again = tdattr(*long, folder=folder)
    assert re.search(r"^Training F1 resumes after \d+ of 400 steps\.$", again.stderr, re.M)
    assert again.stderr.count("resumes") == 1  # nothing else had come anywhere
    [path] = tmp_path.glob("runs/**/summary.json")
    killed = json.loads(path.read_text())["artifacts"]["model"]
    tdattr(*long[:-1], folder=folder)
    first = load_file(tmp_path / "artifacts" / killed / "ema.safetensors")
    second = load_file(folder / "outputs/artifacts" / killed / "ema.safetensors")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_removal_and_an_imported_checkpoint_reach_f1(swept, tmp_path):
    folder, _, _ = swept
    model = summaries(folder)["pixel"]["artifacts"]["model"]
    weights = folder / "outputs/artifacts" / model / "ema.safetensors"
    done = tdattr("method=random", *TINY, f"checkpoint={weights}", folder=folder)
    assert "Training F1" not in done.stderr
    assert "they are counterfactuals of this recipe, not of the checkpoint's own training" in done.stderr
    assert summaries(folder)["random"]["imported"] and not summaries(folder)["pixel"]["imported"]
    assert summaries(folder)["random"]["signed"] and not summaries(folder)["pixel"]["signed"]
    reported = tdattr("--out", str(tmp_path / "report"), folder=folder, command="report")
    for text in (reported.stdout, (tmp_path / "report" / "index.html").read_text().replace("&#39;", "'")):
        assert text.count(IMPORTED) == 1
    other = ("diffusion.sigma_data=0.4", "diffusion.steps=3")  # the first is the training's, the second generation's
    done = tdattr("method=random", *TINY, f"checkpoint={weights}", *other, folder=folder, check=False)
    assert done.returncode == 1
    assert "was trained with diffusion.sigma_data=0.5: set that" in done.stderr
    done = tdattr("method=random", *TINY, "remove.groups=['3']", f"paths.outputs={tmp_path}", folder=folder)
    assert "F1 is trained without" in done.stderr


@pytest.mark.parametrize(
    ("logger", "pattern"),
    [
        ("csv", "outputs/runs/*/metrics/metrics.csv"),
        ("tensorboard", "outputs/tensorboard/**/events*"),
        ("wandb", "outputs/runs/*/wandb/offline-run*"),
    ],
)
def test_every_logger_leaves_its_files(logger, pattern, tmp_path):
    single = "queries.controls=1"  # of which there is no interval
    done = tdattr("method=pixel", *TINY, single, f"logger={logger}", folder=tmp_path)
    assert list(tmp_path.glob(pattern)), done.stderr
    for written in tmp_path.glob("outputs/**/*.json"):
        assert not re.search(r"\b(NaN|Infinity)\b", written.read_text()), written
    assert summaries(tmp_path)["pixel"]["control"]["ssim"]["ci95"] is None


def test_several_loggers_leave_the_files_of_each(tmp_path):
    done = tdattr("method=pixel", *TINY, "logger=[csv,tensorboard]", folder=tmp_path)
    assert list(tmp_path.glob("outputs/runs/*/metrics/metrics.csv")), done.stderr
    assert list(tmp_path.glob("outputs/tensorboard/**/events*")), done.stderr


@pytest.mark.parametrize("choice", ["logger=none", "~logger"])
def test_a_run_needs_no_logger(choice, tmp_path):
    done = tdattr("method=random", *TINY, choice, folder=tmp_path)
    assert "Results: " in done.stderr
    assert not list(tmp_path.glob("outputs/runs/*/metrics"))


def test_lightning_says_nothing(tmp_path):
    code = f"import sys; sys.argv = ['tdattr', *{TINY}, 'method=random']\nfrom tdattr.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Results: " in done.stderr
    for words in ("INFO", "Trainer.fit", "weights_only", "litlogger", "TPU", "UserWarning"):
        assert words not in done.stderr + done.stdout
