"""Sweeps whose jobs are a script of a test in the place of the command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tdattr.run_status import now
from tdattr.sweeps.record import Sweep, SweepJob

JOB = """
import json, os, signal, sys, time
from pathlib import Path
folder, number = Path(sys.argv[1]), int(sys.argv[2])
place = folder / str(number)
place.mkdir(exist_ok=True)
def status(**values): (place / "status.json").write_text(json.dumps(values))
"""


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """``make_sweep(script, jobs)`` is a sweep of so many jobs. Each runs the script, which knows its sweep's ``folder``
    and its ``number`` and ``place``."""

    def make(script: str, jobs: int) -> Sweep:
        package = tmp_path / ".code" / "tdattr" / "sweeps"
        package.mkdir(parents=True)
        for folder in (package, package.parent):
            (folder / "__init__.py").touch()
        (package / "job.py").write_text(JOB + script)
        numbered = [
            SweepJob(number, [f"seed={number}", "a=1"], str(number), None, f"{number}/job.log")
            for number in range(jobs)
        ]
        return Sweep(
            folder=tmp_path,
            command=["tdattr"],
            launcher="local",
            submitted=now(),
            settings={},
            environment={},
            working_folder=str(tmp_path),
            hydra=[],
            code=str(tmp_path / ".code"),
            revision=None,
            slots=[],
            process=None,
            jobs=numbered,
        )

    return make
