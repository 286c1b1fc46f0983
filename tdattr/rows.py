"""Memory-mapped arrays that are filled row by row and resume, after a kill, where they were last saved."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


class Rows:
    """``<name>_<key>.npy`` files of equal length in ``folder``; ``done`` rows of them are complete and on disk.

    The arrays are made at the first ``write``, which knows their shapes; a folder that an interrupted process left
    opens them again and starts at its last ``done``. Beside them there may be files whose length is not known before:
    ``lengths`` has what is complete of each.
    """

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.folder, self.name, self.count = folder, name, count
        self.arrays: dict[str, np.memmap] = {}
        self.mark = folder / f"{name}.progress"
        self.done = 0
        self.lengths: dict[str, int] = {}
        if self.mark.exists():
            state: dict[str, Any] = json.loads(self.mark.read_text())
            self.done, self.lengths = state["done"], state.get("lengths", {})
            self.arrays = {key: np.load(self.path(key), mmap_mode="r+") for key in state["arrays"]}

    def path(self, key: str) -> Path:
        """The file of an array."""
        return self.folder / f"{self.name}_{key}.npy"

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of one row of an array; None where there is no such array yet."""
        return self.arrays[key].shape[1:] if key in self.arrays else None

    def append(self, key: str, lines: np.ndarray) -> None:
        """Add lines of a file of unknown length; they count once the rows that they belong to are written."""
        append_lines(self.path(key), self.lengths.get(key, 0), lines)
        self.lengths[key] = self.lengths.get(key, 0) + len(lines)

    def write(self, **blocks: np.ndarray) -> None:
        """Append the next rows of every array, flush them, and note how far that came."""
        for key, block in blocks.items():
            if key not in self.arrays:
                self.arrays[key] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                    self.path(key), mode="w+", dtype=block.dtype, shape=(self.count, *block.shape[1:])
                )
            self.arrays[key][self.done : self.done + len(block)] = block
            self.arrays[key].flush()
        self.done += len(next(iter(blocks.values())))
        new = self.mark.with_suffix(".new")
        new.write_text(json.dumps({"done": self.done, "arrays": sorted(self.arrays), "lengths": self.lengths}))
        new.replace(self.mark)

    def discard(self) -> None:
        """Delete the arrays, the files and the mark."""
        for key in [*self.arrays, *self.lengths]:
            self.path(key).unlink()
        self.close()

    def close(self) -> None:
        """Forget the arrays; they are complete."""
        self.arrays = {}
        self.mark.unlink(missing_ok=True)


def append_lines(path: Path, length: int, lines: np.ndarray) -> None:
    """Write ``lines`` behind the first ``length`` lines of a .npy file and drop whatever came after these; a file is
    made where ``length`` is 0."""
    header = {
        "descr": np.lib.format.dtype_to_descr(lines.dtype),
        "fortran_order": False,
        "shape": (length + len(lines), *lines.shape[1:]),
    }
    with path.open("r+b" if length else "w+b") as file:
        np.lib.format.write_array_header_1_0(file, header)  # of the same size for any number of lines
        file.seek(length * lines[0].nbytes, os.SEEK_CUR)
        file.write(np.ascontiguousarray(lines).data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
