"""``tdattr-artifacts list`` and ``du``: what is stored, and which runs use it."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tdattr.inventory.words import KINDS
from tests.faults.cases import stages_of_code
from tests.inventory.outputs import QUERIES, artifacts, names, write_run

LIST = "from tdattr.inventory.command import main; main()"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two runs, one in a sweep, that share the dataset; and a training that no run uses."""
    write_run(tmp_path, "first")
    write_run(tmp_path, "sweep/3", seed=2)
    write_run(tmp_path, "gone", steps=10)
    shutil.rmtree(tmp_path / "runs/gone")
    return tmp_path


def test_each_artifact_is_named_with_what_it_is_and_who_uses_it(outputs: Path) -> None:
    done = artifacts("list", outputs=outputs)
    lines = done.out.splitlines()
    assert done.status == 0 and {line.split()[0] for line in lines[1:-1]} == names(outputs)
    [line] = [line for line in lines if "dataset, Glyphs" in line]
    assert line.endswith("first and 1 more")
    assert any("scores of a query, MUCS, query 1" in line and line.endswith("sweep/3") for line in lines)
    assert any("training, 10 steps" in line and line.endswith("no run") for line in lines)
    assert lines[-1].startswith("25 artifacts") and "8 of them used by no run" in lines[-1]


def test_a_run_uses_what_its_results_were_made_from(outputs: Path) -> None:
    chain = write_run(outputs, "third", seed=3)
    listed = json.loads(artifacts("list", "--run", "third", "--json", outputs=outputs).out)
    assert {entry["artifact"] for entry in listed} == set(chain.everything)  # the training of the verdict, too
    assert chain.again.name not in json.dumps(chain.verdict.key)
    assert all("third" in entry["runs"] for entry in listed)


def test_lists_are_chosen_and_sorted(outputs: Path) -> None:
    stage = artifacts("list", "--stage", "query_scores", "--csv", outputs=outputs)
    rows = list(csv.DictReader(io.StringIO(stage.out)))
    assert len(rows) == 3 * QUERIES and all(row["artifact"].startswith("query_scores/") for row in rows)
    assert {row["runs"] for row in rows} == {"first", "sweep/3", ""}
    unused = json.loads(artifacts("list", "--unused", "--sort", "size", "--json", outputs=outputs).out)
    sizes = [entry["bytes"] for entry in unused]
    assert len(unused) == 8 and sizes == sorted(sizes, reverse=True)
    refused = artifacts("list", "--stage", "pretain", outputs=outputs)
    assert refused.status == 1 and "no stage pretain: choose from attribute, dataset" in refused.err


def test_what_takes_the_space_is_told_by_stage_and_by_run(outputs: Path) -> None:
    done = artifacts("du", outputs=outputs)
    stages = {line.split()[0]: line.split()[1] for line in done.out.splitlines()[1:9]}
    assert stages["pretrain"] == "6" and stages["dataset"] == "1" and stages["all"] == "25"
    assert "prune --all would free" in done.out and "(8 artifacts)" in done.out
    assert any(line.startswith("sweep/3 ") for line in done.out.splitlines())


def test_what_cannot_be_read_is_a_sentence_or_a_row(outputs: Path) -> None:
    (outputs / "runs/first/summary.json").write_text('{"artifacts": {"model": "../../etc/x"}}')
    damaged = next((outputs / "artifacts/unlearn").glob("[!.]*"))
    (damaged / "provenance.json").write_text("[]")
    (outputs / "artifacts/generate/notes.txt").write_text("mine")
    (outputs / "artifacts/pretrain/link").symlink_to(outputs / "nowhere")
    done = artifacts("list", outputs=outputs)
    assert done.status == 0 and "1 damaged" in done.out and "Traceback" not in done.err
    assert "its summary.json cannot be read" in artifacts("du", outputs=outputs).out
    missing = artifacts("list", outputs=outputs / "elsewhere")
    assert missing.status == 1 and missing.err.startswith("error: There is no store") and "--outputs" in missing.err
    shutil.rmtree(outputs / "runs")
    assert "25 of them used by no run" in artifacts("list", outputs=outputs).out


def test_names_do_nothing_to_a_terminal(outputs: Path) -> None:
    path = next(path for path in (outputs / "artifacts/pretrain").glob("[!.]*"))
    path.rename(path.with_name("\x1b[2J\nroot"))
    os.rename(outputs / "runs/first", outputs / "runs/\x1b]0;x\x07")
    content = json.loads((path.with_name("\x1b[2J\nroot") / "provenance.json").read_text())
    content = {"config": {"seed": "\x1b[31m"}, "inputs": content["inputs"]}
    (path.with_name("\x1b[2J\nroot") / "provenance.json").write_text(json.dumps(content))
    for command in (
        ["list"],
        ["list", "--csv"],
        ["list", "--json"],
        ["du"],
        ["verify"],
        ["prune", "--dry-run", "--all"],
    ):
        done = artifacts(*command, outputs=outputs)
        assert "\x1b" not in done.out + done.err and "\x07" not in done.out


def test_a_reader_may_leave_and_nothing_heavy_is_loaded(outputs: Path) -> None:
    heavy = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
    command = [sys.executable, "-c", heavy + LIST, "list", "--outputs", str(outputs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before anything was written
    errors = process.stderr.read()
    assert process.wait() == 0 and "Traceback" not in errors and "Broken" not in errors
    loaded = set(errors.split())
    assert "tdattr.inventory.listing" in loaded
    assert not {"torch", "lightning", "pandas", "numpy", "matplotlib", "wandb"} & loaded


def test_every_stage_has_a_word() -> None:
    assert set(stages_of_code()) <= KINDS.keys()
