"""How long does a command take to answer, or to say what is wrong?

Every command is started in a process of its own, all of them in turn in each round, and beside them Python with Hydra
alone, which nothing here can be faster than. Prints the median of the seconds with the fastest and the slowest, the
seconds of a core, which a busy machine does not lengthen, and the ratio of these to Hydra's.

    python benchmarks/start_up.py [--rounds 5]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

RUN = "import sys; sys.argv[0] = {name!r}; from {module} import {function} as command; command()"
HYDRA = "import hydra"
ENTRIES = {  # the name of a command, and the function that it is
    "tdattr": ("tdattr.cli", "main"),
    "tdattr-report": ("tdattr.cli", "report"),
    "tdattr-artifacts": ("tdattr.inventory.command", "main"),
}
COMMANDS = [
    "tdattr --help",
    "tdattr --version",
    "tdattr dataset=nonsense",
    "tdattr metod=pixel",
    "tdattr method=mucs method.unlearn.max_steps=-1",
    "tdattr train.learning_rate=no",
    "tdattr health.samples=1",
    "tdattr checkpoint=nowhere.safetensors",
    "tdattr dataset=cifar10 dataset.source.root=nowhere",
    "tdattr plan=true",
    "tdattr-report --help",
    "tdattr-report nowhere",
    "tdattr-artifacts --help",
    "tdattr-artifacts list",
]


def arguments_of(command: str) -> list[str]:
    """What starts a command."""
    name, *given = command.split()
    module, function = ENTRIES[name]
    return [sys.executable, "-c", RUN.format(name=name, module=module, function=function), *given]


def measure(arguments: list[str], folder: str) -> tuple[float, float]:
    """The seconds that a process takes, and those of a core."""
    environment = os.environ | {"TDATTR_OUTPUTS": folder}
    started, before = time.perf_counter(), count_core_seconds()
    subprocess.run(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, count_core_seconds() - before


def count_core_seconds() -> float:
    """The seconds of a core that processes which were started here have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    started = {HYDRA: [sys.executable, "-c", HYDRA]} | {command: arguments_of(command) for command in COMMANDS}
    found: dict[str, list[tuple[float, float]]] = {command: [] for command in started}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            for command, arguments in started.items():
                taken = measure(arguments, folder)
                if number:  # the first round compiles modules and reads them from the disk
                    found[command].append(taken)
    base = statistics.median(of_core for _, of_core in found[HYDRA])
    for command, measured in found.items():
        seconds = [each for each, _ in measured]
        of_core = statistics.median(each for _, each in measured)
        print(
            f"{command:<50}{statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), of a core "
            f"{of_core:5.2f} s, {of_core / base:5.1f} times Hydra"
        )


if __name__ == "__main__":
    main()
