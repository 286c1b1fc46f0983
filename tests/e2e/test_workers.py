"""Several processes on one config: the same results as of one, and no more of anything that is written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from safetensors.numpy import load_file

from tdattr.pipeline import attribute, worker
from tdattr.pipeline.scored import check_scored
from tdattr.store import Plan, find, provenance
from tests.conftest import CONF
from tests.e2e.console import MUCS, TINY, tdattr
from tests.e2e.families import RUNS, work
from tests.e2e.leases import holders, is_running

GROUPS = 2
COMMAND = "import sys; from tdattr.cli import main; sys.argv[0] = 'tdattr'; main()"


def start(outputs: Path) -> "subprocess.Popen[str]":
    """A process that is ready to do its share."""
    command = [sys.executable, "-m", "tests.e2e.families", str(outputs)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(outputs: Path, workers: int) -> list[list[str]]:
    """All families by so many processes, of which this is one: what each of them has built."""
    outputs.mkdir()
    rows = [f"{index},{'ab'[index % 10 % GROUPS]}" for index in range(1621)]
    (outputs / "groups.csv").write_text("id,group\n" + "\n".join(rows))
    processes = [start(outputs) for _ in range(workers - 1)]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        built = [work(outputs)]
        for process in processes:
            out, err = process.communicate()
            assert process.returncode == 0, err
            built.append(out.split())
    finally:
        for process in processes:
            process.kill()
    return built


def arrays(outputs: Path) -> dict[str, Any]:
    """Every array of every artifact, and the numbers of every verdict, by name."""
    found: dict[str, Any] = {}
    for path in sorted((outputs / "artifacts").rglob("*")):
        name = path.relative_to(outputs).as_posix()
        if path.suffix == ".safetensors":
            found |= {f"{name}/{key}": value for key, value in load_file(path).items()}
        elif path.suffix == ".npy":
            found[name] = np.load(path)
        elif path.name == "verdict.json":
            found[name] = np.array(json.dumps(json.loads(path.read_text())["summary"]))
    return found


@pytest.mark.slow  # four processes that each import everything
def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    """Scores, bounds, images and all else, to the last bit."""
    [alone] = run(tmp_path / "1", 1)
    expected = arrays(tmp_path / "1")
    assert sum(name.endswith("verdict.json") for name in expected) == len(RUNS)
    shared = set()
    for workers in (2, 4):
        built = run(tmp_path / str(workers), workers)
        found = arrays(tmp_path / str(workers))
        assert found.keys() == expected.keys()
        assert [name for name in found if not np.array_equal(found[name], expected[name])] == []
        assert sorted(name for names in built for name in names) == sorted(alone)  # each built once
        assert sum(map(bool, built)) > 1  # of four, one may come late to so few
        for stage in ("query_scores", "pretrain", "elbo"):  # before which all have waited for each other
            if sum(any(name.startswith(f"{stage}/") for name in names) for names in built) > 1:
                shared.add(stage)
    assert shared == {"query_scores", "pretrain", "elbo"}  # in one run or the other: who is quick may take all of a few


# -- commands ----------------------------------------------------------------------------------------------------------


def newest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the summary of the last run."""
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    summary = json.loads(path.read_text())
    del summary["seconds_per_query"]
    return path.parent, summary


@pytest.mark.slow  # a further process that imports everything
def test_a_worker_that_is_killed_costs_its_unit_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a task of a SLURM job beside the first one finds nothing left to do."""
    arguments = [*TINY, *MUCS, "method=mucs", "queries.attributed=6"]
    for name in ("alone", "shared"):
        (tmp_path / name).mkdir()
    tdattr(*arguments, folder=tmp_path / "alone")
    killed: list[int] = []
    deadline = time.monotonic() + 300

    def check(*values: Any) -> None:
        """The first worker waits with its first query until the other one has one, and is killed."""
        while not killed and time.monotonic() < deadline:
            for process in holders(tmp_path / "shared", "query_scores") - {os.getpid()}:
                os.kill(process, signal.SIGKILL)
                killed.append(process)
            time.sleep(0.02)
        check_scored(*values)

    monkeypatch.setattr(attribute, "check_scored", check)
    done = tdattr(*arguments, "workers=2", "logger=csv", folder=tmp_path / "shared")
    run, summary = newest(tmp_path / "shared")
    assert "Worker 1 was ended by SIGKILL: the others do its share." in (run / "run.log").read_text()
    assert summary == newest(tmp_path / "alone")[1]
    assert killed and len(list(run.parent.iterdir())) == 1 and done.stderr.count("Results: ") == 1
    assert not list((tmp_path / "shared").glob("outputs/artifacts/*/.*"))

    monkeypatch.setattr(worker, "be_quiet", lambda: None)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        outputs = f"paths.outputs={tmp_path}/shared/outputs"
        cfg = compose("config", [*arguments, outputs], return_hydra_config=True)
        monkeypatch.setattr(Plan, "build_under_lock", None)  # it would build with this
        worker.work_as_task(cfg, local_rank=1)


@pytest.mark.slow  # two processes that each import everything
def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """However long they would go on: here each query would be unlearned for ever."""
    endless = ["method.unlearn.stop=1e9", "method.unlearn.max_steps=100000000"]
    command = [sys.executable, "-c", COMMAND, *TINY, *MUCS, *endless, "method=mucs", "workers=2"]
    others: set[int] = set()
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while process.poll() is None and len(holders(tmp_path, "query_scores")) < 2:
                time.sleep(0.1)
            others = holders(tmp_path, "query_scores") - {process.pid}
            assert len(others) == 1, process.stderr.read()
            process.kill()
            process.wait()
            deadline = time.monotonic() + 60
            while any(map(is_running, others)) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not any(map(is_running, others))
        finally:
            process.kill()
            for other in filter(is_running, others):
                os.kill(other, signal.SIGKILL)


@pytest.mark.slow  # a command and four processes that each import everything
@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_a_sweep_over_trainings_on_two_devices_runs_each_job_once(tmp_path: Path, launcher: str) -> None:
    """DDP by processes that know nothing of the sweep: none of them runs the command again."""
    small = ["dataset=mixtures", "dataset.source.groups=3", "dataset.source.items=60", "dataset.source.test_items=12"]
    tiny = [part for part in TINY if "dataset" not in part]
    sweep = ["-m", "seed=1,2", "trainer.devices=2", f"hydra/launcher={launcher}", "method=pixel", "protocol=truth"]
    command = [sys.executable, "-c", COMMAND, *sweep, *small, *tiny]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "outputs/runs").iterdir()
    for name in ("config.yaml", "summary.json"):
        assert sorted(path.parent.name for path in folder.glob(f"*/{name}")) == ["0", "1"]
    for job in ("0", "1"):
        said = (folder / job / "run.log").read_text()
        for line in ("Groups by", "The network has", "Training F1: 12 steps", "Results: "):
            assert said.count(line) == 1, line
    assert "Training F1" in done.stderr or launcher == "local"  # whose jobs have logs of their own
    assert done.stderr.count("Results: ") == (2 if launcher == "basic" else 0)
    folders = (tmp_path / "outputs/artifacts/pretrain").iterdir()
    trained = [provenance(find(path.parents[1], f"pretrain/{path.name}")) for path in folders]
    assert sorted(each["config"]["seed"] for each in trained) == [1, 2]
    assert [each["facts"]["devices"] for each in trained] == [2, 2]
