"""Whole runs are killed, warned, raced and run on a full disk at random moments; `python -m tests.faults` does more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_is_lost(tmp_path: Path) -> None:
    """In the 11 stages of a method that compares features of a classifier, which is trained on the way."""
    faults = ["--kills", "8", "--signal", "KILL,TERM,INT,USR1,USR2", "--race", "--full", "--case", "features"]
    command = [sys.executable, "-m", "tests.faults", *faults, "--folder", str(tmp_path / "faults")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nLost: 0 finished" in done.stdout and "wrong: 0." in done.stdout
