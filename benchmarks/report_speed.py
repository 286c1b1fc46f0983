"""How long does tdattr-report take, and how does that grow with the runs?

Makes three small runs by the real command, under one seed, and copies their folders with other seeds and settings, so
that there are experiments of ten seeds of three methods each; all copies show the artifacts of the three. The runs are
reported on in a process of its own for each number of them. With ``--profile`` it prints instead where the time of the
most runs goes.

    python benchmarks/report_speed.py [--runs 3 30 300] [--rounds 3] [--profile]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

RUN = "import sys; sys.argv[0] = {name!r}; from tdattr.cli import {function} as command; command()"
PROFILED = ["-m", "cProfile", "-s", "cumulative"]
SEEDS = 10  # of each experiment
METHODS = "random", "pixel", "condition"
SMALL = [
    "dataset=digits",
    "model.blocks=1",
    "model.width=16",
    "model.heads=1",
    "diffusion.steps=6",
    "train.steps=12",
    "train.batch_size=8",
    "queries.attributed=20",
    "queries.controls=20",
]


def start(function: str, *arguments: str, folder: Path, options: tuple[str, ...] = ()) -> None:
    """Run a command in a process of its own."""
    code = RUN.format(name="tdattr", function=function)
    environment = os.environ | {"TDATTR_OUTPUTS": str(folder)}
    shown = None if options else subprocess.DEVNULL
    if options:  # cProfile takes a file
        script = folder / "command.py"
        script.write_text(code)
        command = [sys.executable, *options, str(script), *arguments]
    else:
        command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, env=environment, stdout=shown, stderr=subprocess.DEVNULL, check=True)


def copy_run(run: Path, number: int, into: Path) -> None:
    """The same run under another seed and, every SEEDS seeds, other settings."""
    folder = into / f"{number:04d}"
    shutil.copytree(run, folder)
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    experiment, seed = divmod(number // len(METHODS), SEEDS)
    config["seed"] = summary["seed"] = seed + 1
    config["train"]["steps"] += experiment
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "summary.json").write_text(json.dumps(summary))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[3, 30, 300])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start("main", "-m", f"method={','.join(METHODS)}", *SMALL, folder=folder)
        real = sorted(path.parent for path in (folder / "runs").rglob("summary.json"))
        found: dict[int, list[float]] = {count: [] for count in options.runs}
        for count in options.runs:
            for number in range(count):
                copy_run(real[number % len(real)], number, folder / str(count))
        for _ in range(0 if options.profile else options.rounds):
            for count, seconds in found.items():
                started = time.perf_counter()
                start("report", str(folder / str(count)), "--out", str(folder / "report"), folder=folder)
                seconds.append(time.perf_counter() - started)
        for count, seconds in found.items():
            if seconds:
                print(
                    f"{count:>4} runs: {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
                )
        if options.profile:
            most = folder / str(max(options.runs))
            start("report", str(most), "--out", str(folder / "report"), folder=folder, options=tuple(PROFILED))


if __name__ == "__main__":
    main()
