"""A sweep that gives the terminal back, and ``tdattr-sweep``, which says how every job truly is, from any shell."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tdattr.sweeps.record import read_sweep
from tests.slurm.cluster import Cluster
from tests.slurm.sweeping import GATED, MAIN, REASON, ROOT, SEARCH, SLURM, SMALL, WAIT_SECONDS

JOBS = ["-m", "method=gated", "paths.data=null,data", "seed=1,2,3", "hydra.launcher.requeue=0", "sweep=detached"]
SWEEP = [sys.executable, "-m", "tdattr.sweeps.command"]
STATE = re.compile(r"^#\d+ +([A-Z]+)", re.MULTILINE)
Run = Callable[..., str]


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Run:
    """``run(command)`` is what a command of the user's says that ends well."""
    environment = os.environ | cluster.environment | {"PYTHONPATH": os.pathsep.join([str(GATED), str(ROOT)])}
    environment.pop("TDATTR_OUTPUTS", None)

    def start(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return start


def wait_for_states(run: Run, states: str) -> str:
    """Wait until ``tdattr-sweep status`` says that the jobs are in these states, in their order; all that it says."""
    end = time.monotonic() + WAIT_SECONDS
    while STATE.findall(said := run(*SWEEP, "status")) != states.split():
        assert time.monotonic() < end, said
        time.sleep(1)
    return said


def test_every_state_of_a_detached_sweep_is_true(run: Run, cluster: Cluster, tmp_path: Path) -> None:
    """Jobs 0 to 2 fail. Two of the others run until they are told to go on; the last one waits for their cores."""
    gate = tmp_path / "outputs" / "gate"
    gate.mkdir(parents=True)
    cluster.node("drain")
    try:
        assert "Started 6 jobs in outputs/runs/" in run(sys.executable, "-c", MAIN, *JOBS, *SMALL, SEARCH, *SLURM)
        wait_for_states(run, "WAITING WAITING WAITING WAITING WAITING WAITING")
    finally:
        cluster.node_up()
    said = wait_for_states(run, "FAILED FAILED FAILED RUNNING RUNNING WAITING")
    (path,) = tmp_path.glob("outputs/runs/*/sweep.json")
    sweep = read_sweep(path.parent)
    assert said.count(f"{REASON} (outputs/runs/{sweep.folder.name}/.submitit/") == 3
    assert REASON in run(*SWEEP, "logs", "0", "-f", sweep.folder.name)
    assert run(*SWEEP, "cancel", "4-5") == "Cancelled jobs #4 and #5; 1 of them ran and end now.\n"
    wait_for_states(run, "FAILED FAILED FAILED RUNNING CANCELLED CANCELLED")
    os.kill(json.loads((sweep.folder / "3" / "status.json").read_text())["pid"], signal.SIGKILL)
    cluster.node("down")  # with all that ran there
    assert "SLURM says " in wait_for_states(run, "FAILED FAILED FAILED LOST CANCELLED CANCELLED")
    cluster.node_up()
    assert run(*SWEEP, "retry", "3", "5", "0") == "Started jobs #0, #3 and #5 again.\n"
    wait_for_states(run, "FAILED FAILED FAILED RUNNING CANCELLED RUNNING")
    (gate / "open").touch()
    said = wait_for_states(run, "FAILED FAILED FAILED DONE CANCELLED DONE")
    assert said.splitlines()[-1] == "3 failed, 1 cancelled, 2 done"
    assert run(*SWEEP, "retry", "4") == "Started job #4 again.\n"
    wait_for_states(run, "FAILED FAILED FAILED DONE DONE DONE")
    assert sorted(place.parent.name for place in sweep.folder.glob("*/summary.json")) == ["3", "4", "5"]
