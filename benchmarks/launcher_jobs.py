"""How many jobs a second does a sweep finish under each launcher, where all that the jobs ask for is there already?

One sweep over seeds of a model that is trained for one step builds everything; then the same sweep is timed under every
launcher. What is left is what a job costs: for `basic` its config and its checks; for `local` and `slurm` a process
with its imports too. `slurm` needs a cluster.

    python benchmarks/launcher_jobs.py [--jobs 8] [--launchers basic,local]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from tdattr.jobs import count_cores

COMMAND = "import sys; sys.argv[0] = 'tdattr'; from tdattr.cli import main; main()"
SETTINGS = ["method=random", "until=generate", "train.steps=1", "trainer.accelerator=cpu", "trainer.threads=1"]
OF_LAUNCHER = {"slurm": ["hydra.launcher.gpus=null", "hydra.launcher.cpus=1"]}


def sweep(folder: str, launcher: str, jobs: int) -> float:
    """The seconds that a sweep takes."""
    seeds = f"seed=range(1,{jobs + 1})"
    command = [sys.executable, "-c", COMMAND, "-m", f"hydra/launcher={launcher}", *SETTINGS, seeds]
    command += OF_LAUNCHER.get(launcher, [])
    started = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"TDATTR_OUTPUTS": folder, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--launchers", default="basic,local", help="basic, local and slurm, with commas")
    options = parser.parse_args()
    print(f"{count_cores()} cores; other work at the start: {os.getloadavg()[0]:.1f} processes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sweep(folder, "basic", options.jobs)
        for launcher in options.launchers.split(","):
            seconds = sweep(folder, launcher, options.jobs)
            rate = options.jobs / seconds
            print(f"{launcher:6} {options.jobs} jobs in {seconds:.1f} s: {rate:.2f} a second", flush=True)


if __name__ == "__main__":
    main()
