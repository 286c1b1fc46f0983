"""How many jobs a second does a sweep finish under each launcher, where all that the jobs ask for is there already?

One sweep over seeds of a model that is trained for one step builds everything; then the same sweep is timed under every
launcher. What is left is what a job costs: for `basic` its config and its checks; for `local` and `slurm` a process
with its imports too. `slurm` needs a cluster.

    python benchmarks/launcher_jobs.py [--jobs 8] [--launchers basic,local]
"""

import argparse
import os
import tempfile

from timed_sweep import time_sweep

from tdattr.jobs import count_cores

SETTINGS = ["train.steps=1", "trainer.accelerator=cpu"]
OF_LAUNCHER = {"slurm": ["hydra.launcher.gpus=null", "hydra.launcher.cpus=1"]}


def sweep(folder: str, launcher: str, jobs: int) -> float:
    """The seconds that a sweep takes."""
    return time_sweep(folder, jobs, f"hydra/launcher={launcher}", *SETTINGS, *OF_LAUNCHER.get(launcher, []))


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
