"""How much more work is done in the same time where small jobs share the cores instead of following each other?

Trains `dit_tiny` on `glyphs` under several seeds, one thread each, as a sweep of `hydra/launcher=local`: one job after
another, then all of them at once (`hydra.launcher.pack`). Each job is a process of its own, with all that it takes
to start one. Prints the seconds of both, the ratio, and how busy the machine was: the ratio says something where it is
idle.

    python benchmarks/packed_jobs.py [--jobs 4] [--steps 500] [--rounds 1] [--accelerator cpu]
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from timed_sweep import time_sweep

from tdattr.jobs import count_cores


def sweep(folder: Path, jobs: int, steps: int, accelerator: str, *launcher: str) -> float:
    """The seconds that a sweep takes."""
    settings = [f"train.steps={steps}", f"trainer.accelerator={accelerator}"]
    return time_sweep(folder, jobs, "hydra/launcher=local", *launcher, *settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    print(f"{count_cores()} cores; other work at the start: {os.getloadavg()[0]:.1f} processes")
    ratios = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            one, many = Path(folder, "one"), Path(folder, "many")
            alone = sweep(one, options.jobs, options.steps, options.accelerator, "hydra.launcher.jobs=1")
            packed = sweep(
                many, options.jobs, options.steps, options.accelerator, f"hydra.launcher.pack={options.jobs}"
            )
        ratios.append(alone / packed)
        print(f"{options.jobs} jobs: one after another {alone:.1f} s, at once {packed:.1f} s, ratio {ratios[-1]:.2f}")
    print(f"throughput at once / one after another: {statistics.median(ratios):.2f} (median of {len(ratios)})")
    print(f"other work at the end: {os.getloadavg()[0]:.1f} processes")


if __name__ == "__main__":
    main()
