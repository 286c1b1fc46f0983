"""How much faster are two workers than one, on two cores?

Two processes with one thread each share the scores of MUCS's queries, or the folds of LOGO, through the store, as the
workers of a run do; then one of them does the same alone, in turn, so that a busy machine slows both. They are started
before the clock is. Prints the seconds of each round, and the ratio of the medians: 2 would be perfect.

    python benchmarks/workers.py [--rounds 3] [--queries 8] [--steps 300]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import tdattr
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.generate import generate
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace

METHODS = {
    "attribution": ["method=mucs", "protocol=leave_k_out"],
    "LOGO folds": ["method=logo", "protocol=logo", "elbo.stride=50"],
}


def open_run(outputs: Path, work: str, queries: int, steps: int) -> Workspace:
    """The run whose units are shared."""
    sizes = [f"queries.attributed={queries}", "queries.controls=0", f"train.steps={steps}", "trainer.threads=1"]
    always = ["dataset=glyph_digits", "trainer.accelerator=cpu", f"paths.outputs={outputs}", *sizes]
    return tdattr.compose([*always, *METHODS[work]])


def serve(queries: int, steps: int) -> None:
    """Do one's share of every piece of work that comes by standard input, and say when there is none left of it."""
    print("ready", flush=True)
    while line := sys.stdin.readline():
        outputs, _, work = line.strip().partition("\t")
        attribute(open_run(Path(outputs), work, queries, steps)).get()
        print("done", flush=True)


def measure(workers: list["subprocess.Popen[str]"], outputs: Path, work: str) -> float:
    """The seconds until all of them are done with a piece of work."""
    started = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{outputs}\t{work}\n")
        worker.stdin.flush()
    for worker in workers:
        read(worker, "done")
    return time.perf_counter() - started


def read(worker: "subprocess.Popen[str]", expected: str) -> None:
    """Wait until a worker says that."""
    assert worker.stdout is not None
    if worker.stdout.readline() != f"{expected}\n":
        raise RuntimeError("a worker has failed, as said above")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300, help="of F1's training and of every fold's")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.queries, options.steps)
    sizes = ["--queries", str(options.queries), "--steps", str(options.steps)]
    pipe = subprocess.PIPE
    command = [sys.executable, __file__, "--serve", *sizes]
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder, "base")
            for work in METHODS:
                ws = open_run(base, work, options.queries, options.steps)
                generate(ws, train(ws)).get()
            for worker in workers:
                read(worker, "ready")
            for work in METHODS:
                seconds: dict[int, list[float]] = {1: [], 2: []}
                for number in range(2 * options.rounds):
                    count, outputs = 1 + number % 2, Path(folder, f"{work}{number}")
                    shutil.copytree(base, outputs)
                    seconds[count].append(measure(workers[:count], outputs, work))
                for count, values in seconds.items():
                    print(f"{work}, workers: {count}, seconds: {', '.join(f'{value:.1f}' for value in values)}")
                ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
                print(f"{work}: two workers are {ratio:.2f} times as fast as one", flush=True)
    finally:
        for worker in workers:
            worker.kill()


if __name__ == "__main__":
    main()
