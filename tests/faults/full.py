"""A disk that is full: a small file system in memory or, where none can be mounted, a limit to the size of files."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.faults.rounds import FULL, Case, Round, Tally

MOST_ATTEMPTS = 2  # on a disk that is full, which grows from one to the next
ROOM = 1 << 26  # bytes in the end
LOG_BYTES = 1 << 14  # of a limit to the size of files: what a command says must be written


def fill(case: Case, folder: Path, tally: Tally, rng: np.random.Generator, most: int) -> None:
    """A round on a disk of random size that grows until the command completes, or has failed ``most`` times."""
    current = Round(case, folder, tally)
    current.outputs.mkdir(parents=True)
    files = [path.stat().st_size for path in (case.folder / "undisturbed").rglob("*") if path.is_file()]
    with small_disk(current.outputs) as mounted:
        size = int(rng.uniform(0.05, 0.5) * sum(files) if mounted else rng.uniform(LOG_BYTES, max(files)))
        for _ in range(min(most, MOST_ATTEMPTS)):
            if mounted:
                mount(current.outputs, size, again=True)
            ended = current.start(largest=None if mounted else size).wait()
            current.note(ended)
            if ended.status == 0:
                break
            tally.faults += 1
            tally.kinds["full disk" if mounted else "largest file"] += 1
            tally.stages[(ended.inside or "between stages").split("/")[0]] += 1
            said = ended.log.rstrip().rpartition("\n")[2]
            if ended.status != 1 or not said.startswith("error: ") or FULL not in said or "Traceback" in ended.log:
                current.complain(f"attempt {current.attempts} ends with status {ended.status} and says {said!r}")
            size = int(size * rng.uniform(1.0, 2.0))
        if mounted:
            mount(current.outputs, ROOM, again=True)
        current.finish()
    current.clear()


def mount(folder: Path, size: int, again: bool = False) -> bool:
    """Whether a file system of so many bytes could be mounted, or be made that large."""
    options = f"size={size}{',remount' if again else ''}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Whether the folder is one, which it is no more in the end."""
    mounted = mount(folder, ROOM)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
