"""What a cluster does with jobs that fail at once: how they share one of SLURM's, and what they are told."""

import json
import re
import signal
import time
from pathlib import Path

from tdattr.sweeps.record import read_sweep
from tests.slurm.cluster import Cluster
from tests.slurm.sweeping import REASON, start


def test_packed_jobs_share_one_of_slurm_s_and_no_job_takes_ranks_of_another(cluster: Cluster, tmp_path: Path) -> None:
    """The command runs inside a job itself, whose variables its jobs do not inherit; its set-up lines come first."""
    outer = {"SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "64", "SLURM_PROCID": "3", "RANK": "3", "WORLD_SIZE": "9"}
    setup = [
        "hydra.launcher.pack=2",
        "hydra.launcher.setup=['env > $TMPDIR/env-$SLURM_ARRAY_TASK_ID','export TDATTR_THREADS=8']",
    ]
    process = start(cluster, tmp_path, *setup, "seed=1,2,3", TMPDIR=str(tmp_path), **outer)
    said, _ = process.communicate()
    (path,) = tmp_path.glob("outputs/runs/*/sweep.json")
    sweep = read_sweep(path.parent)
    assert process.returncode == 1 and said.splitlines()[-1].startswith("error: ") and "Traceback" not in said
    ids = [job.id for job in sweep.jobs]
    assert ids[0] == ids[1] != ids[2] and ids[0].split("_")[0] == ids[2].split("_")[0]
    assert [job.log for job in sweep.jobs[:2]] == ["0/job.log", "1/job.log"]
    for job in sweep.jobs:
        status = json.loads((sweep.folder / job.folder / "status.json").read_text())
        assert (status["state"], status["error"]) == ("failed", REASON)
        assert REASON in (sweep.folder / job.log).read_text()
        assert re.search(
            rf"^#{job.number} +FAILED +seed={job.number + 1} +{re.escape(f'{REASON} (outputs/runs/')}.*{job.log}",
            said,
            re.M,
        )
    assert f"Job #0 (seed=1) FAILED: {REASON} Its log: outputs/runs/{sweep.folder.name}/0/job.log\n" in said
    assert "\nThe same goes for jobs #1 and #2.\n" in said
    lines = dict(line.split("=", 1) for line in (tmp_path / "env-0").read_text().splitlines() if "=" in line)
    assert lines["SLURM_CPUS_PER_TASK"] == lines["TDATTR_THREADS"] == lines["OMP_NUM_THREADS"] == "2"
    assert lines["SLURM_JOB_ID"] != "77" and not {"RANK", "WORLD_SIZE"} & lines.keys()


def test_an_interruption_leaves_the_jobs_and_says_how_to_end_them(cluster: Cluster, tmp_path: Path) -> None:
    cluster.node("drain")
    try:
        process = start(cluster, tmp_path, "seed=1,2")
        array = ""
        while not array:
            assert process.poll() is None
            time.sleep(0.2)
            sweeps = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/sweep.json")]
            array = next(((sweep["jobs"][0]["id"] or "").partition("_")[0] for sweep in sweeps), "")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
        assert process.returncode == 130
        assert said.splitlines()[-1] == (
            f"Interrupted; the jobs of the sweep go on, as they are SLURM's. To end them, too: scancel {array}"
        )
        assert cluster.states() == ["PENDING", "PENDING"]
        cluster.call("scancel", array)
    finally:
        cluster.node_up()


def test_what_the_cluster_refuses_is_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    process = start(cluster, tmp_path, "seed=1,2", "hydra.launcher.partition=none")
    said, _ = process.communicate()
    assert process.returncode == 1 and "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: SLURM took no jobs: sbatch: error: ")
    assert "invalid partition" in said.lower()
