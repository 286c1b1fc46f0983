"""What does a folder of many images cost: to list, to prepare, and with every command once it is prepared?

For each number of images it makes a folder of tiny PNGs in a hundred sub-folders with a metadata.csv beside them, and
prints what it takes to list and fingerprint them in one process, the first and the second time; to prepare them with
`tdattr-prepare`; and to run the same command again, which finds everything prepared. Seconds are by the clock or, as a
busy machine does not lengthen them, of a core (all of the listing); MB is the most memory. What few images take is
starting.

    python benchmarks/many_files.py [--images 100 1000 10000 100000]
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tdattr.data.image_folder import ImageFolder
from tdattr.data.images import MAX_PIXELS

SIZE, FOLDERS, ARTISTS = 16, 100, 37
PREPARE = "import sys; sys.argv[0] = 'tdattr-prepare'; from tdattr.cli import prepare; prepare()"


def make_folder(root: Path, images: int) -> None:
    """So many tiny images with their metadata."""
    rng = np.random.default_rng(0)
    root.mkdir()
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "artist", "text"])
        for number in range(images):
            path = root / f"{number % FOLDERS:03d}" / f"{number:06d}.png"
            path.parent.mkdir(exist_ok=True)
            buffer = BytesIO()
            Image.fromarray(rng.integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)).save(buffer, "PNG")
            path.write_bytes(buffer.getvalue())
            name = path.relative_to(root).as_posix()
            writer.writerow([name, f"artist {number % ARTISTS}", f"picture {number}"])


def time_command(root: Path, outputs: Path) -> tuple[float, float, float]:
    """The seconds of `tdattr-prepare` for the folder, those of a core, and the most megabytes that it had."""
    overrides = ["dataset=image_folder", f"dataset.source.root={root}", f"dataset.source.resolution={SIZE}"]
    environment = os.environ | {"TDATTR_OUTPUTS": str(outputs)}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", PREPARE, *overrides], env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"tdattr-prepare ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def time_call(call: Callable[[], object]) -> float:
    """The seconds of a core that a call takes."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    options = parser.parse_args()
    print(f"{'':<24}preparing{'':<15}prepared")
    print("  images  list again   seconds  of a core    MB   seconds  of a core    MB")
    for images in options.images:
        with tempfile.TemporaryDirectory() as folder:
            root, outputs = Path(folder, "raw"), Path(folder, "outputs")
            make_folder(root, images)
            listing = [time_call(open_source(root).fingerprint) for _ in range(2)]
            figures = [time_command(root, outputs) for _ in range(2)]
            line = "".join(f"{clock:>10.1f}{core:>11.1f}{memory:>6.0f}" for clock, core, memory in figures)
            print(f"{images:>8}{listing[0]:>6.2f}{listing[1]:>6.2f}{line}", flush=True)


def open_source(root: Path) -> ImageFolder:
    """The folder as a dataset."""
    return ImageFolder(str(root), SIZE, 3, "none", 10, None, MAX_PIXELS, "stop", "auto", "auto")


if __name__ == "__main__":
    main()
