"""Sweeps on the test cluster: how tests start them, wait for them and read what they have left."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tdattr.sweeps.record import Sweep, read_sweep
from tests.e2e.console import TINY, tdattr
from tests.slurm.cluster import Cluster

GATED = Path(__file__).parent / "gated"
ROOT = Path(__file__).parents[2]
MIXTURES = ["dataset=mixtures", "dataset.source.groups=3", "dataset.source.items=60", "dataset.source.test_items=12"]
SMALL = [*MIXTURES, *(o for o in TINY if not o.startswith("dataset")), "protocol=logo", "elbo.stride=200"]
SEARCH = f"hydra.searchpath=[file://{GATED}/conf]"
JOBS = ["method=random,gated", "seed=1,2"]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.gpus=null", "hydra.launcher.cpus=1", "hydra.launcher.time=60"]
MAIN = "import sys; sys.argv[0] = 'tdattr'; from tdattr.cli import main; main()"
FAILING = ["hydra/launcher=slurm", "hydra.launcher.gpus=null", "hydra.launcher.cpus=2", "paths.data=null"]
REASON = "paths.data=null must be a folder."
WAIT_SECONDS = 900.0  # of a busy machine


def until(condition: Callable[[], object], process: "subprocess.Popen[str]", pause: float = 0.5) -> None:
    """Wait for something, for as long as the command runs; ``pause``: seconds between two looks."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate(timeout=10)
        time.sleep(pause)


class Sweeping:
    """A sweep that runs, and whose gated jobs wait at a gate."""

    def __init__(self, cluster: Cluster, folder: Path, process: "subprocess.Popen[str]") -> None:
        self.cluster, self.folder, self.process = cluster, folder, process
        self.gate = folder / "outputs" / "gate"
        until(lambda: any(job.id for sweep in self.sweeps() for job in sweep.jobs), process)

    def sweeps(self) -> list[Sweep]:
        """The sweep, once it has written what it is."""
        return [read_sweep(path.parent) for path in self.folder.glob("outputs/runs/*/sweep.json")]

    def sweep(self) -> Sweep:
        """The sweep."""
        (sweep,) = self.sweeps()
        return sweep

    def id(self, number: int) -> str:
        """SLURM's name of a job."""
        return self.sweep().job(number).id

    def minutes(self, number: int) -> int:
        """For how many minutes a job has run since it was last started."""
        passed = self.cluster.call("squeue", "--noheader", "--format=%M", f"--jobs={self.id(number)}")
        *hours, minutes, _ = passed.split(":")
        return int(minutes) + 60 * int(hours[0] if hours else 0)

    def pid(self, number: int) -> int:
        """The process of a job."""
        return self.status(number).get("pid", 0)

    def status(self, number: int) -> dict:
        """What a job says of itself."""
        path = self.sweep().folder / str(number) / "status.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def wait(self, *numbers: int, but: list[int] | None = None) -> list[int]:
        """Wait until those jobs are at the gate, in other processes than ``but``; their processes."""

        def arrived() -> bool:
            self.cluster.hurry()
            pids = [self.pid(number) for number in numbers]
            return all((self.gate / str(pid)).exists() and pid not in (but or []) for pid in pids)

        until(arrived, self.process)
        return [self.pid(number) for number in numbers]


def run_basic(folder: Path, jobs: Sequence[str] = JOBS) -> str:
    """What the sweep says whose jobs run one after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GATED))
        return tdattr("-m", *jobs, *SMALL, SEARCH, folder=folder).stderr


def contents(outputs: Path) -> dict[str, str]:
    """The digest of every array of every artifact (weights, images, scores, bounds) and of every verdict's table; not
    of the scores of single queries, which come with their seconds, and are in those of all queries."""
    found = {}
    for path in outputs.glob("artifacts/*/*/provenance.json"):
        stage, address = path.parent.parts[-2:]
        if stage == "query_scores":
            continue
        for name, facts in json.loads(path.read_text())["files"].items():
            if name.endswith((".safetensors", ".npy")) or (stage, name) == ("evaluate", "queries.csv"):
                found[f"{stage}/{address}/{name}"] = facts["sha256"]
    return found


def launch(cluster: Cluster, folder: Path, jobs: Sequence[str] = JOBS, *more: str) -> "subprocess.Popen[str]":
    """Start the sweep on the cluster."""
    environment = os.environ | cluster.environment | {"PYTHONPATH": os.pathsep.join([str(GATED), str(ROOT)])}
    environment.pop("TDATTR_OUTPUTS", None)
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "-m", *jobs, *SMALL, SEARCH, *SLURM, *more],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start(cluster: Cluster, folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """A sweep of jobs that end at once."""
    given = os.environ | cluster.environment | {"PYTHONPATH": str(ROOT)} | environment
    given.pop("TDATTR_OUTPUTS", None)
    command = [sys.executable, "-c", MAIN, "-m", *FAILING, *arguments]
    return subprocess.Popen(command, cwd=folder, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
