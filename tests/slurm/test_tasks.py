"""A job of several tasks: they share its work and leave what one task leaves, whatever happens to one of them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tdattr.sweeps.record import read_sweep
from tests.e2e.leases import holders, is_running
from tests.loggers.reader import read_wandb
from tests.slurm.cluster import Cluster, start_cluster
from tests.slurm.sweeping import WAIT_SECONDS, Sweeping, contents, launch, run_basic, start, until

OVERRIDES = ["method=gated", "seed=1,2,3"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with two nodes of one CPU, so that the two tasks of a job are on different ones."""
    with start_cluster(1, nodes=2) as cluster:
        yield cluster


class Sharing(Sweeping):
    """A sweep whose jobs have two tasks, each of which waits at the gate."""

    def wait_for_two(self, number: int, known: set[int]) -> tuple[int, int]:
        """The processes of a job's first and second task, which are none of those that are ``known``, once both are at
        the gate."""
        arrived: set[int] = set()

        def both() -> bool:
            self.cluster.hurry()
            arrived.update({int(path.name) for path in self.gate.iterdir() if path.name.isdecimal()} - known)
            return len(arrived) == 2 and self.pid(number) in arrived

        until(both, self.process)
        first = self.pid(number)
        (second,) = arrived - {first}
        known |= arrived
        return first, second

    def open_until(self, number: int, state: str) -> None:
        """Let all pass until a job has ended."""
        (self.gate / "open").touch()
        until(lambda: self.status(number).get("state") == state, self.process)
        (self.gate / "open").unlink()


def test_tasks_share_a_job_and_one_that_dies_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """One job is shared to its end, one loses its second task, and the last is queued again and loses its first."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        (folder / "outputs" / "gate").mkdir(parents=True)
    process = launch(cluster, disturbed, OVERRIDES, "hydra.launcher.tasks=2")
    try:
        (undisturbed / "outputs" / "gate" / "open").touch()
        run_basic(undisturbed, OVERRIDES)
        sweeping, known = Sharing(cluster, disturbed, process), set[int]()
        _, second = sweeping.wait_for_two(0, known)
        (sweeping.gate / "open").touch()
        until(lambda: second in holders(disturbed, "pretrain"), process, 0.02)  # of a fold
        sweeping.open_until(0, "done")
        _, second = sweeping.wait_for_two(1, known)
        os.kill(second, signal.SIGKILL)
        sweeping.open_until(1, "done")
        sweeping.wait_for_two(2, known)
        cluster.call("scontrol", "requeue", sweeping.id(2))
        first, _ = sweeping.wait_for_two(2, known)
        os.kill(first, signal.SIGKILL)
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert not any(map(is_running, known))
    sweep = sweeping.sweep()
    assert [sweeping.status(number)["state"] for number in range(3)] == ["done", "done", "running"]
    assert "LOST" in said and "Traceback" not in said
    assert sorted(path.name for path in sweep.folder.iterdir() if path.is_dir()) == [".code", ".submitit", *"012"]
    assert sorted(path.parent.name for path in sweep.folder.glob("*/summary.json")) == ["0", "1"]
    for number in (0, 1):
        log = (sweep.folder / sweep.job(number).log).read_text()
        assert log.count("Training F1: 12 steps") == log.count("Results: ") == 1 and "Traceback" not in log
        assert "node=0(2), global_rank=0(2)" in log
    assert "task 1: Killed" in (sweep.folder / sweep.job(1).log).read_text()
    (sweeping.gate / "open").touch()
    run_basic(disturbed, OVERRIDES)
    assert contents(disturbed / "outputs") == contents(undisturbed / "outputs")


def test_a_job_whose_time_is_over_is_queued_again_and_both_tasks_resume(cluster: Cluster, tmp_path: Path) -> None:
    """It leaves one run in W&B, of both attempts, which the first task alone has logged."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        (folder / "outputs" / "gate").mkdir(parents=True)
    wandb = ["logger=wandb", "logger.offline=true"]
    process = launch(cluster, disturbed, OVERRIDES[:1], "hydra.launcher.tasks=2", *wandb)
    try:
        (undisturbed / "outputs" / "gate" / "open").touch()
        run_basic(undisturbed, OVERRIDES[:1])
        sweeping, known = Sharing(cluster, disturbed, process), set[int]()
        sweeping.wait_for_two(0, known)
        first = set(known)
        cluster.call("scontrol", "update", f"JobId={sweeping.id(0)}", f"TimeLimit={sweeping.minutes(0) + 2}")
        until(lambda: not any(map(is_running, first)), process)  # soon, as notice is two minutes
        cluster.call("scontrol", "update", f"JobId={sweeping.id(0)}", "TimeLimit=60")
        sweeping.wait_for_two(0, known)
        (sweeping.gate / "open").touch()
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "Traceback" not in said
    sweep = sweeping.sweep()
    logs = [path.read_text() for path in sorted(sweep.folder.glob(".submitit/*/*_log.out"))]
    assert [log.count("Starting with JobEnvironment") for log in logs] == [2, 2]
    assert "Caught signal SIGUSR2" in logs[0] and not any("Traceback" in log for log in logs)
    assert logs[0].count("Training F1: 12 steps") == logs[0].count("Results: ") == 1
    assert not any("DUE TO TIME LIMIT" in log for log in logs)  # they ended in time, by themselves
    attempts = read_wandb(sweep.folder / "0")
    assert len({kept.state["run_id"] for kept in attempts}) == 1
    assert [kept.state["exit_code"] for kept in attempts] == [1, 0]
    assert [item["attempt"] for item in attempts[1].series("attempt")] == [2]
    assert len([*disturbed.rglob("*.wandb")]) == 2
    assert contents(disturbed / "outputs") == contents(undisturbed / "outputs")


def test_a_job_that_fails_has_said_so_once(cluster: Cluster, tmp_path: Path) -> None:
    """Its other task learns of it, and the sweep ends."""
    process = start(cluster, tmp_path, "seed=1", "hydra.launcher.tasks=2", "hydra.launcher.cpus=1")
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    (path,) = tmp_path.glob("outputs/runs/*/sweep.json")
    sweep = read_sweep(path.parent)
    assert process.returncode == 1 and "Traceback" not in said
    first = (sweep.folder / sweep.job(0).log).read_text()
    (second,) = sweep.folder.glob(".submitit/*/*_1_log.out")
    assert first.count("paths.data=null must be a folder.") == 1 and "Traceback" not in second.read_text()
