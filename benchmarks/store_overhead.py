"""What does the store cost for each artifact?

A file of some kilobytes is written as an artifact, plan and all, and found again by another store of the same process
and by one of a new one, which reads its content once more; and it is written plainly, with and without waiting for the
disk. In alternating rounds, so that a busy machine slows all. Prints the milliseconds for each, and the ratios.

    python benchmarks/store_overhead.py [--rounds 5] [--artifacts 200] [--kilobytes 10] [--profile]
"""

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tdattr.files import known, sync
from tdattr.store import Plan, Store

CONFIG = {"method": {"class": "tdattr.methods.mucs.MUCS 2"} | {f"setting_{n}": n / 7 for n in range(60)}, "seed": 1}
SLOWEST = 25  # functions that a profile shows


def plan(root: Path, number: int, content: bytes) -> Plan:
    """An artifact with a config of the usual size."""

    def build(folder: Path) -> None:
        (folder / "scores.safetensors").write_bytes(content)

    inputs = {"model": "0" * 16, "queries": "1" * 16}
    return Store(root, "cpu").plan("query_scores", 1, CONFIG | {"query": number}, inputs, build)


def write_plainly(root: Path, number: int, content: bytes, wait: bool) -> None:
    """The same file in a folder of its own, whole or not at all."""
    folder = root / str(number)
    folder.mkdir()
    path = folder / "scores.safetensors.new"
    path.write_bytes(content)
    if wait:
        sync(path)
    os.replace(path, folder / "scores.safetensors")
    if wait:
        sync(folder)


def measure(work: Callable[[int], object], count: int) -> float:
    """Milliseconds that the work takes for each of the artifacts."""
    started = time.perf_counter()
    for number in range(count):
        work(number)
    return (time.perf_counter() - started) / count * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--artifacts", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--profile", action="store_true", help="show where the time of building and finding goes")
    options = parser.parse_args()
    content, count = os.urandom(1000 * options.kilobytes), options.artifacts
    times: dict[str, list[float]] = {}
    profile = cProfile.Profile()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            root = Path(name)
            (root / "plain").mkdir()
            (root / "synced").mkdir()
            if options.profile:
                profile.enable()
            times.setdefault("built", []).append(measure(lambda n: plan(root, n, content).get(), count))  # noqa: B023
            times.setdefault("found again", []).append(measure(lambda n: plan(root, n, content).get(), count))  # noqa: B023
            known.clear()
            times.setdefault("found by a new process", []).append(
                measure(lambda n: plan(root, n, content).get(), count)  # noqa: B023
            )
            profile.disable()
            for key, wait in (("plain", False), ("synced", True)):
                times.setdefault(key, []).append(
                    measure(lambda n: write_plainly(root / key, n, content, wait), count)  # noqa: B023
                )
    for key, values in times.items():
        print(f"{key:<24}{statistics.median(values):8.3f} ms an artifact (median of {options.rounds})")
    for other in ("plain", "synced"):
        ratios = [built / plain for built, plain in zip(times["built"], times[other], strict=True)]
        print(f"built / {other:<8} {statistics.median(ratios):10.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(SLOWEST)


if __name__ == "__main__":
    main()
