"""Whole runs are killed, warned, raced and run on a full disk at random moments; `python -m tests.faults` does more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*options: str) -> str:
    """What the command prints, which must find nothing wrong."""
    command = [sys.executable, "-m", "tests.faults", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nLost: 0 finished" in done.stdout and "wrong: 0." in done.stdout
    return done.stdout


@pytest.mark.slow
def test_nothing_is_lost(tmp_path: Path) -> None:
    """In the 11 stages of a method that compares features of a classifier, which is trained on the way."""
    faults = ["--kills", "8", "--signal", "KILL,TERM,INT,USR1,USR2", "--race", "--full", "--case", "features"]
    run(*faults, "--folder", str(tmp_path / "faults"))


@pytest.mark.slow
def test_a_stage_resumes_where_only_its_provenance_is_missing(tmp_path: Path) -> None:
    """In the stages of `tdattr-base`, which write whole folders of other libraries."""
    printed = run("--unsealed", "--case", "base", "--folder", str(tmp_path / "faults"))
    assert "(SIGKILL unsealed 5)" in printed
