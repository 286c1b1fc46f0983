"""Memory-mapped arrays that are filled row by row and resume, after a kill, where they were last saved."""

import hashlib
import json
import logging
import os
from collections import defaultdict
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from tdattr.files import reserve
from tdattr.interim import MARK
from tdattr.stopwatch import note_spent

log = logging.getLogger(__name__)
BLOCK = 256  # rows that are read at a time
# of a mark or an array that cannot be right; numpy reads the header of an array as Python
DAMAGED = (FileNotFoundError, EOFError, ValueError, KeyError, TypeError, SyntaxError, TokenError)


class Rows:
    """``<name>_<key>.npy`` files of equal length in ``folder``; ``done`` rows of them are complete and on disk.

    The arrays are made at the first ``write``, which knows their shapes; a folder that an interrupted process left
    opens them again and starts at its last ``done``, or from the beginning, with a warning, where something of it is
    damaged. Beside them there may be files whose length is not known before: ``lengths`` has what is complete of each.
    """

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.folder, self.name, self.count = folder, name, count
        self.mark = folder / f"{name}{MARK}"
        self.forget()
        if self.mark.exists():
            try:
                self.resume()
            except DAMAGED as error:
                log.warning("%s cannot be resumed (%s): starting over.", self.mark, error)
                self.discard()

    def forget(self) -> None:
        """Nothing is open or complete."""
        self.done = 0
        self.arrays: dict[str, np.memmap] = {}
        self.lengths: dict[str, int] = {}
        self.digests: defaultdict[str, Any] = defaultdict(hashlib.sha256)  # of what is complete of each file

    def resume(self) -> None:
        """Open what an interrupted process left. Raises one of ``DAMAGED`` where it is not as it was written."""
        state: dict[str, Any] = json.loads(self.mark.read_text())
        self.done, self.lengths = state["done"], state["lengths"]
        for key in (*state["arrays"], *self.lengths):
            path, done = self.path(key), self.lengths.get(key, self.done)
            array = np.load(path, mmap_mode="r")  # to write into one would make a file that was cut longer
            for start in range(0, done, BLOCK):
                self.digests[key].update(array[start : min(start + BLOCK, done)].tobytes())
            if self.digests[key].hexdigest() != state["digests"][key]:
                raise ValueError(f"{path.name} is damaged")
            if key not in self.lengths:
                reserve(path)
                self.arrays[key] = np.load(path, mmap_mode="r+")

    def path(self, key: str) -> Path:
        """The file of an array."""
        return self.folder / f"{self.name}_{key}.npy"

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of one row of an array; None where there is no such array yet."""
        return self.arrays[key].shape[1:] if key in self.arrays else None

    def append(self, key: str, lines: np.ndarray) -> None:
        """Add lines of a file of unknown length; they count once the rows that they belong to are written."""
        append_lines(self.path(key), self.lengths.get(key, 0), lines)
        self.digests[key].update(lines.tobytes())
        self.lengths[key] = self.lengths.get(key, 0) + len(lines)

    def write(self, **blocks: np.ndarray) -> None:
        """Append the next rows of every array, flush them, and note how far that came. Raises OSError where there is
        no space for the whole of an array, before anything is written to it."""
        for key, block in blocks.items():
            if key not in self.arrays:
                self.arrays[key] = self.make(key, block)
            rows = self.arrays[key][self.done : self.done + len(block)]
            rows[:] = block
            self.arrays[key].flush()
            self.digests[key].update(rows.tobytes())
        self.done += len(next(iter(blocks.values())))
        state = {
            "done": self.done,
            "arrays": sorted(self.arrays),
            "lengths": self.lengths,
            "digests": {key: total.hexdigest() for key, total in self.digests.items()},
        }
        new = self.mark.with_suffix(".new")
        new.write_text(json.dumps(state, allow_nan=False))
        new.replace(self.mark)
        note_spent(self.folder)

    def make(self, key: str, block: np.ndarray) -> np.memmap:
        """An array of rows like those of ``block``, with all the disk that it needs."""
        path, shape = self.path(key), (self.count, *block.shape[1:])
        try:
            array: np.memmap = np.lib.format.open_memmap(path, "w+", block.dtype, shape)  # type: ignore[no-untyped-call]
            reserve(path)
        except OSError:
            path.unlink(missing_ok=True)  # what was reserved of it
            raise
        return array

    def discard(self) -> None:
        """Delete the arrays, the files and the mark."""
        self.forget()
        for path in self.folder.glob(f"{self.name}_*.npy"):
            path.unlink()
        self.mark.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget the arrays; they are complete, as the mark says."""
        self.arrays = {}


def append_lines(path: Path, length: int, lines: np.ndarray) -> None:
    """Write ``lines`` behind the first ``length`` lines of a .npy file and drop whatever came after these; a file is
    made where ``length`` is 0."""
    descr = np.lib.format.dtype_to_descr(lines.dtype)
    with path.open("r+b" if length else "w+b") as file:
        for count in (length, length + len(lines)):  # the header says what is there, whenever this is interrupted
            file.seek(0)
            shape = (count, *lines.shape[1:])
            header = {"descr": descr, "fortran_order": False, "shape": shape}  # of one size, whatever the count
            np.lib.format.write_array_header_1_0(file, header)
            if count == length:
                file.seek(length * lines[0].nbytes, os.SEEK_CUR)
                file.write(np.ascontiguousarray(lines).data)
                file.truncate()
            file.flush()
            os.fsync(file.fileno())
