"""Rows resume where they were saved, start over where what is left is damaged, and never end in a bus error."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tdattr.rows import Rows

COUNT = 6


def begin(folder: Path) -> Rows:
    """Half of the rows of two arrays, and of a file of unknown length."""
    rows = Rows(folder, "a", COUNT)
    rows.append("lines", np.arange(10).reshape(5, 2))
    rows.write(x=np.arange(6).reshape(3, 2), y=np.ones((3, 4), np.uint8))
    return rows


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut mark": lambda folder: os.truncate(folder / "a.progress", 20),
    "empty mark": lambda folder: os.truncate(folder / "a.progress", 0),
    "mark that is no object": lambda folder: (folder / "a.progress").write_text("[]"),
    "mark of too many rows": lambda folder: edit(folder / "a.progress", done=4),
    "mark without digests": lambda folder: edit(folder / "a.progress", digests={}),
    "deleted array": lambda folder: (folder / "a_y.npy").unlink(),
    "cut array": lambda folder: os.truncate(folder / "a_x.npy", 150),
    "empty array": lambda folder: os.truncate(folder / "a_x.npy", 0),
    "bit of an array": lambda folder: flip(folder / "a_x.npy", 128 + 8),
    "bit of a header": lambda folder: flip(folder / "a_y.npy", 60),
    "bit of a line": lambda folder: flip(folder / "a_lines.npy", 128 + 8),
    "deleted lines": lambda folder: (folder / "a_lines.npy").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rows_start_over(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path)
    DAMAGES[damage](tmp_path)
    rows = begin(tmp_path)
    assert f"{tmp_path / 'a.progress'} cannot be resumed" in caplog.text and "starting over" in caplog.text
    rows.write(x=np.arange(6, 12).reshape(3, 2), y=np.ones((3, 4), np.uint8))
    assert np.load(tmp_path / "a_x.npy").ravel().tolist() == list(range(12))
    assert np.load(tmp_path / "a_lines.npy").ravel().tolist() == list(range(10))


def test_what_lies_behind_the_mark_may_be_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A kill comes between the rows and the mark."""
    begin(tmp_path)
    flip(tmp_path / "a_x.npy", 128 + 8 * 6)
    rows = Rows(tmp_path, "a", COUNT)
    assert rows.done == 3 and rows.lengths == {"lines": 5} and caplog.text == ""


def test_there_is_space_for_an_array_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    assert (tmp_path / "a_x.npy").stat().st_blocks * 512 >= (tmp_path / "a_x.npy").stat().st_size

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "full"
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(OSError, match="No space left on device"):
            begin(folder)
    assert not (folder / "a_x.npy").exists() and not (folder / "a.progress").exists()
    assert begin(folder).done == 3  # once there is space


def test_a_disk_that_is_full_in_the_middle_of_lines_costs_only_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows(tmp_path, "train", 10)
    rows.append("lines", np.arange(10).reshape(5, 2))
    rows.write(spans=np.arange(5))

    def refuse(array: np.ndarray) -> np.ndarray:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "ascontiguousarray", refuse)  # asked for right before the lines are written
        with pytest.raises(OSError, match="No space left"):
            rows.append("lines", np.arange(6).reshape(3, 2))
    again = Rows(tmp_path, "train", 10)
    assert again.done == 5 and not caplog.text
    again.append("lines", np.arange(6).reshape(3, 2))
    again.write(spans=np.arange(3))
    assert np.load(again.path("lines")).tolist() == [*np.arange(10).reshape(5, 2).tolist(), [0, 1], [2, 3], [4, 5]]
