"""The linear datamodeling score from the command line: subsets are trained once for all methods and jobs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.console import TINY, tdattr

LDS = [*TINY, "protocol=lds", "protocol.subsets=4", "protocol.repeats=2", "protocol.draws=6", "protocol.resamples=20"]
GRID = [
    "method.gradients.draws=2",
    "method.gradients.projection.dimension=8",
    "method.damping=grid",
    "method.grid=[1,100]",
]
CODE = "import sys; from tdattr.cli import main; sys.argv[0] = 'tdattr'; main()"


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


def trained(folder: Path) -> int:
    return len([path for path in folder.glob("outputs/artifacts/pretrain/*") if not path.name.startswith(".")])


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory):
    """A folder in which two jobs wanted the same subsets at the same time."""
    folder = tmp_path_factory.mktemp("lds")
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, *LDS, f"method={method}"], cwd=folder, stderr=subprocess.PIPE, text=True
        )
        for method in ("pixel", "condition")
    ]
    errors = [job.communicate(timeout=300)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    return folder, errors


def test_jobs_share_out_the_trainings(shared_out):
    folder, errors = shared_out
    assert trained(folder) == 1 + 4 * 2
    started = r"Retraining \d of 8, without \d+ items( under seed 2)?: 12 steps"
    assert sum(len(re.findall(started, error)) for error in errors) == 8
    assert not list(folder.glob("outputs/artifacts/*/.*.unfinished"))


def test_a_third_method_trains_nothing_and_is_reported(shared_out):
    folder, _ = shared_out
    done = tdattr("method=random", *LDS, folder=folder)
    assert "Retraining" not in done.stderr
    summary = newest(folder)
    assert (summary["protocol"], summary["subsets"], summary["repeats"], summary["num_queries"]) == ("lds", 4, 2, 3)
    table = pd.read_csv(folder / "outputs/artifacts" / summary["artifacts"]["evaluation"] / "queries.csv")
    assert summary["lds"]["mean"] == pytest.approx(table["lds"].mean())
    assert f"LDS {summary['lds']['mean']:+.3f}" in done.stderr
    few = "The verdict stands on 3 queries, fewer than 10: raise queries.attributed."
    assert few in summary["warnings"] and few in done.stderr
    assert "LDS" in tdattr(folder=folder, command="report").stdout


def test_a_damping_is_chosen_on_the_controls(shared_out):
    folder, _ = shared_out
    done = tdattr("method=dtrak", *GRID, "queries.explained=controls", *LDS, folder=folder)
    summary = newest(folder)
    assert summary["num_queries"] == 2
    assert [row["damping"] for row in summary["grid"]] == [1, 100]
    assert summary["damping"] in (1, 100)
    assert f"best damping {summary['damping']:g}" in done.stderr
    assert "The verdict stands on 2 queries, fewer than 10: raise queries.controls." in done.stderr
    alone = [argument for argument in GRID if "grid" not in argument]
    tdattr("method=dtrak", *alone, "method.damping=100", "queries.explained=controls", *LDS, folder=folder)
    assert newest(folder)["lds"]["mean"] == pytest.approx(summary["grid"][1]["mean"])
    assert trained(folder) == 9
