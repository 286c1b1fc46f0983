"""Memory-mapped arrays that are filled row by row and resume, after a kill, where they were last saved."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class Rows:
    """``<name>_<key>.npy`` files of equal length in ``folder``; ``done`` rows of them are complete and on disk.

    The arrays are made at the first ``write``, which knows their shapes; a folder that an interrupted process left
    opens them again and starts at its last ``done``.
    """

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.folder, self.name, self.count = folder, name, count
        self.arrays: dict[str, np.memmap] = {}
        self.mark = folder / f"{name}.progress"
        self.done = 0
        if self.mark.exists():
            state: dict[str, Any] = json.loads(self.mark.read_text())
            self.done = state["done"]
            self.arrays = {key: np.load(self.path(key), mmap_mode="r+") for key in state["arrays"]}

    def path(self, key: str) -> Path:
        """The file of an array."""
        return self.folder / f"{self.name}_{key}.npy"

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of one row of an array; None where there is no such array yet."""
        return self.arrays[key].shape[1:] if key in self.arrays else None

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
        new.write_text(json.dumps({"done": self.done, "arrays": sorted(self.arrays)}))
        new.replace(self.mark)

    def discard(self) -> None:
        """Delete the arrays and the mark."""
        for key in self.arrays:
            self.path(key).unlink()
        self.close()

    def close(self) -> None:
        """Forget the arrays; they are complete."""
        self.arrays = {}
        self.mark.unlink(missing_ok=True)
