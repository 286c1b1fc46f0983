"""How long do the commands of tdattr-artifacts take?

Fills a folder with the artifacts of runs, by the real store, and times each command in a process of its own, from its
start to its end. ``verify`` reads every byte, so its time is that of the disk and of SHA-256. With ``--outputs`` it
reads a folder that is there instead, and changes nothing in it.

    python benchmarks/artifact_commands.py [--artifacts 1000] [--kilobytes 10] [--outputs FOLDER]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tdattr.store import Plan, Store

COMMAND = "import sys; sys.argv[0] = 'tdattr-artifacts'; from tdattr.inventory.command import main; main()"
OF_A_RUN = 50  # artifacts
REPEATS = 3
CONFIG = {"method": {"class": "tdattr.methods.mucs.MUCS 2"} | {f"setting_{n}": n / 7 for n in range(40)}}


def fill(outputs: Path, artifacts: int, size: int) -> None:
    """So many artifacts, and runs that use them: a model, the scores of queries, and the scores made of them."""
    content = os.urandom(size)
    store = Store(outputs / "artifacts", "cpu")

    def build(folder: Path, *prepared: object) -> None:
        (folder / "content.bin").write_bytes(content)

    for number in range(-(-artifacts // OF_A_RUN)):
        model = store.plan("pretrain", 1, {"train": {"steps": 100 + number}}, {"dataset": "0" * 64}, build)
        inputs = {"model": model.address}
        parts = [store.plan("query_scores", 1, CONFIG | {"query": n}, inputs, build) for n in range(OF_A_RUN - 2)]

        def prepare(parts: list[Plan] = parts, model: Plan = model) -> None:
            for plan in (model, *parts):
                plan.get()

        scores = store.plan("attribute", 1, CONFIG, inputs, build, prepare).get()
        run = outputs / "runs" / f"sweep/{number}"
        (run / ".hydra").mkdir(parents=True)
        (run / ".hydra" / "overrides.yaml").write_text(f"- train.steps={100 + number}\n")
        (run / "config.yaml").write_text(f"train:\n  steps: {100 + number}\n")
        (run / "summary.json").write_text(json.dumps({"artifacts": {"model": model.name, "scores": scores.name}}))


def measure(outputs: Path, *arguments: str) -> tuple[float, float]:
    """The seconds that a command takes, and those of a core, which a busy machine does not lengthen; the medians of
    several."""
    seconds, of_core = [], []
    for _ in range(REPEATS):
        started, before = time.perf_counter(), count_core_seconds()
        command = [sys.executable, "-c", COMMAND, *arguments, "--outputs", str(outputs)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
        of_core.append(count_core_seconds() - before)
    return statistics.median(seconds), statistics.median(of_core)


def count_core_seconds() -> float:
    """The seconds of a core that processes which were started here have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=1000)
    parser.add_argument("--kilobytes", type=int, default=10)
    parser.add_argument("--outputs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outputs = options.outputs or Path(name)
        if options.outputs is None:
            fill(outputs, options.artifacts, 1000 * options.kilobytes)
        scores = sorted((outputs / "artifacts" / "attribute").glob("[!.]*"))
        pair = [f"attribute/{path.name}" for path in (scores[0], scores[-1])]
        for arguments in (["list"], ["du"], ["explain", *pair], ["prune", "--intermediate", "--dry-run"], ["verify"]):
            seconds, of_core = measure(outputs, *arguments)
            print(f"{arguments[0]:<10}{seconds:6.2f} s, of a core {of_core:5.2f} s (median of {REPEATS})", flush=True)
        count = len(list((outputs / "artifacts").glob("*/[!.]*")))
        size = sum(path.stat().st_size for path in (outputs / "artifacts").rglob("*") if path.is_file())
        print(f"{count} artifacts, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
