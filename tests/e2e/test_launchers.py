"""A sweep whose jobs are processes of their own gives what one gives whose jobs run in the command's process."""

import json
from pathlib import Path

from tests.e2e.console import TINY, tdattr

SWEEP = ["-m", "method=random,pixel", "protocol.k=3,99999", "trainer.accelerator=cpu", *TINY]
TOO_MANY = "protocol.k=99999 removes 99999 items per query, but it must be at least 1 and below the 1621 there are."


def results(folder: Path) -> dict[str, tuple[str, float]]:
    """The verdict of every job that has one: what was judged, and how."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("outputs/runs/*/*/summary.json")}
    return {job: (summary["artifacts"], summary["metrics"]["ssim"]["auc"]) for job, summary in found.items()}


def sweep_of(folder: Path) -> dict:
    """What ``sweep.json`` says."""
    (path,) = folder.glob("outputs/runs/*/sweep.json")
    return json.loads(path.read_text())


def test_local_gives_what_basic_gives_and_a_failed_job_hides_no_other(tmp_path: Path) -> None:
    for name in ("basic", "local"):
        (tmp_path / name).mkdir()
    basic = tdattr(*SWEEP, folder=tmp_path / "basic", check=False)
    local = tdattr(*SWEEP, "hydra/launcher=local", folder=tmp_path / "local", check=False)
    assert basic.returncode == local.returncode == 1
    assert sorted(results(tmp_path / "local")) == ["0", "2"]
    assert results(tmp_path / "basic") == results(tmp_path / "local")
    last = "error: jobs #1 and #3 of the sweep have failed, as said above; the other jobs are finished."
    assert basic.stderr.splitlines()[-1] == local.stderr.splitlines()[-1] == last
    (folder,) = (tmp_path / "local").glob("outputs/runs/*")
    status = json.loads((folder / "1" / "status.json").read_text())
    assert (status["state"], status["error"], status["log"]) == ("failed", TOO_MANY, str(folder / "1" / "job.log"))
    log = (folder / "1" / "job.log").read_text()
    assert TOO_MANY in log and "Traceback" not in log
    for name in ("basic", "local"):
        sweep = sweep_of(tmp_path / name)
        assert sweep["launcher"] == name and [job["number"] for job in sweep["jobs"]] == [0, 1, 2, 3]
        assert sweep["jobs"][1]["overrides"][:2] == ["method=random", "protocol.k=99999"]
        assert all((Path(folder) / job["folder"]).is_dir() for job in sweep["jobs"])
