"""Is this version as fast, and as small in memory, as another one? Paired: the two run in turn, round by round.

Runs small commands with the code in this checkout and in another one, each in a process and a folder of its own with
one thread. Prints the ratios, this version over the other one, of the seconds of F1's training, of the seconds per
query of each method, and of the largest memory of the process: the median over the rounds and the range.

    git worktree add /tmp/other REVISION
    python benchmarks/same_speed.py /tmp/other --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parents[1]
RUN = "from tdattr.cli import main; main()"
BASE = [
    "dataset=glyph_digits",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "train.steps=600",
    "train.warmup_steps=10",
    "queries.attributed=2",
    "queries.controls=0",
]
COMMANDS = {
    "mucs": ["method=mucs", "method.unlearn.max_steps=40", "method.null_loss.batches=4"],
    "das": ["method=das", "method.gradients.draws=20", "method.gradients.projection.dimension=4096"],
    "guda": [
        "method=guda_u",
        "method.unlearn.steps=20",
        "elbo.stride=20",
        "protocol=logo",
        "protocol.gold.elbo.stride=480",
        "remove.groups=[DejaVu Sans,DejaVu Serif,STIX General,Computer Modern Sans,Computer Modern Bold]",
    ],
}


def measure(code: Path, outputs: Path, name: str) -> dict[str, float]:
    """Run one command with the code in a folder: seconds and MB."""
    command = [sys.executable, "-c", RUN, *BASE, *COMMANDS[name], f"paths.outputs={outputs}"]
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    with (outputs.parent / "log.txt").open("a") as log:
        process = subprocess.Popen(command, env=environment, cwd=outputs.parent, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{name} failed with the code in {code}; see {outputs.parent / 'log.txt'}")
    summary = json.loads(next(iter(outputs.glob("runs/*/summary.json"))).read_text())
    model = outputs / "artifacts" / summary["artifacts"]["model"] / "provenance.json"
    return {
        "training seconds": json.loads(model.read_text())["seconds"],
        f"{name} seconds per query": summary["seconds_per_query"],
        f"{name} memory": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    options = parser.parse_args()
    ratios: dict[str, list[float]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for name in options.only:
            sides = [("new", HERE), ("old", options.other.absolute())]
            found = {}
            for side, code in sides if number % 2 == 0 else reversed(sides):
                with tempfile.TemporaryDirectory() as folder:
                    found[side] = measure(code, Path(folder) / "outputs", name)
            for key, value in found["new"].items():
                ratios[key].append(value / found["old"][key])
                values[key].append(value)
    for key, each in ratios.items():
        spread = f"{statistics.median(each):6.3f} (min {min(each):.3f}, max {max(each):.3f})"
        print(f"{key:26} ratio {spread}; {statistics.median(values[key]):.2f} now")


if __name__ == "__main__":
    main()
