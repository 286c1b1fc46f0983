"""A sweep on a real cluster, through all that can happen to its jobs there, ends in what an undisturbed one gives."""

from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.sweeping import WAIT_SECONDS, Sweeping, contents, launch, run_basic, until


def test_a_sweep_survives_what_happens_to_its_jobs(cluster: Cluster, tmp_path: Path) -> None:
    """Jobs 2 and 3 wait in the middle: the node goes down and comes up, one is queued again, cancelled, and its time is
    over. Then the gate is opened."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        (folder / "outputs" / "gate").mkdir(parents=True)
    process = launch(cluster, disturbed)
    try:
        (undisturbed / "outputs" / "gate" / "open").touch()
        run_basic(undisturbed)
        sweeping = Sweeping(cluster, disturbed, process)
        first = sweeping.wait(2, 3)
        cluster.node("down")
        until(lambda: cluster.states() == ["PENDING"] * 2, process)
        second = sweeping.wait(2, 3, but=first)
        cluster.call("scancel", sweeping.id(3))
        cluster.call("scontrol", "requeue", sweeping.id(2))
        third = sweeping.wait(2, but=first + second)
        cluster.call("scontrol", "update", f"JobId={sweeping.id(2)}", f"TimeLimit={sweeping.minutes(2) + 2}")
        until(lambda: not Path(f"/proc/{third[0]}").exists(), process)  # soon, as notice is two minutes
        cluster.call("scontrol", "update", f"JobId={sweeping.id(2)}", "TimeLimit=60")
        sweeping.wait(2, but=first + second + third)
        (sweeping.gate / "open").touch()
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    sweep = sweeping.sweep()
    logs = {job.number: (sweep.folder / job.log).read_text() for job in sweep.jobs}
    assert "#3" in said and f"{sweep.folder.name}/{sweep.job(3).log}" in said and "Traceback" not in said
    assert [sweeping.status(number)["state"] for number in range(4)] == ["done"] * 3 + ["interrupted"]
    assert sorted(path.name for path in sweep.folder.iterdir() if path.is_dir()) == [".code", ".submitit", *"0123"]
    assert [logs[number].count("Starting with JobEnvironment") for number in range(4)] == [1, 1, 4, 2]
    assert "".join(logs.values()).count("Training F1: 12 steps") == 2  # one a seed, however often its jobs began
    assert "Every artifact was already there" not in logs[2]
    done = run_basic(disturbed)
    assert "Training F1" not in done and "Retraining" not in done
    assert contents(disturbed / "outputs") == contents(undisturbed / "outputs")
