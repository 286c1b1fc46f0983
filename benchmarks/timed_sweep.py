"""A sweep over seeds of a model that is hardly trained, and its seconds: what benchmarks of jobs share."""

import os
import subprocess
import sys
import time
from pathlib import Path

COMMAND = "import sys; sys.argv[0] = 'tdattr'; from tdattr.cli import main; main()"
SETTINGS = ["method=random", "until=generate", "trainer.threads=1"]


def time_sweep(outputs: Path | str, jobs: int, *settings: str) -> float:
    """The seconds of a sweep of so many jobs with those settings, whose runs and artifacts lie in ``outputs``."""
    command = [sys.executable, "-c", COMMAND, "-m", *SETTINGS, *settings, f"seed=range(1,{jobs + 1})"]
    started = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"TDATTR_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started
