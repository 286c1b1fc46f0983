"""What does it cost that the threads of OpenMP wait busily for each other, and what does it save?

Trains the same model under each policy of waiting, each in a process of its own, on the machine as it is and beside
other processes that compute. A round runs every policy once; printed are the median seconds, imports left out, and
their ratio to the first.

    python benchmarks/waiting_threads.py [--rounds 3] [--steps 300] [--busy 2] [OVERRIDE ...]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

POLICIES = {
    "as OpenMP does": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SET = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "KMP_BLOCKTIME")  # left out of what is inherited
TRAIN = """
import sys, time
import tdattr
ws = tdattr.compose(sys.argv[1:])
ws.data
started = time.perf_counter()
tdattr.train(ws)
print(time.perf_counter() - started)
"""
COMPUTE = "while True: sum(range(10**6))"


@contextmanager
def busy(count: int) -> Iterator[None]:
    """While this lasts, so many other processes compute."""
    others = [subprocess.Popen([sys.executable, "-c", COMPUTE]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def train(policy: str, overrides: list[str]) -> float:
    """Seconds of the training in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in SET} | POLICIES[policy]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", TRAIN, *overrides, f"paths.outputs={folder}"]
        done = subprocess.run(command, env=environment, check=True, text=True, capture_output=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--busy", type=int, default=2, help="other processes that compute")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    overrides = ["dataset=glyph_digits", "protocol=none", f"train.steps={options.steps}", *options.overrides]
    for others in dict.fromkeys((0, options.busy)):
        seconds: dict[str, list[float]] = {policy: [] for policy in POLICIES}
        with busy(others):
            for _ in range(options.rounds):
                for policy, times in seconds.items():
                    times.append(train(policy, overrides))
        print(f"beside {others} other processes")
        first = statistics.median(next(iter(seconds.values())))
        for policy, times in seconds.items():
            median = statistics.median(times)
            print(f"  {policy:15} {median:6.1f} s  x {median / first:.2f}  ({min(times):.1f} to {max(times):.1f})")


if __name__ == "__main__":
    main()
