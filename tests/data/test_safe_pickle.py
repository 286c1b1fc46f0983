"""The restricted reader: real data files are read exactly, everything else is refused and never executed."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdattr.data.safe_pickle import read_pickle
from tdattr.errors import UserError


class Call:
    """A pickle of this calls ``function`` when an ordinary reader loads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_containers(tmp_path: Path, protocol: int) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = {
        b"data": array,
        b"fortran": np.asfortranarray(array),
        b"labels": [1, 2],
        "text": ("a", 0.5, None, b"\xff"),
    }
    found = read_pickle(write(tmp_path / "x", pickle.dumps(content, protocol)))
    assert np.array_equal(found["data"], array) and found["data"].dtype == np.uint8
    assert np.array_equal(found["fortran"], array)
    assert found["labels"] == [1, 2] and found["text"] == ("a", 0.5, None, b"\xff")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["<i8", ">i4", "<u2", "|i1"])
def test_whole_numbers_of_every_size(tmp_path: Path, protocol: int, kind: str) -> None:
    array = np.array([[1, 2], [3, -4 if "i" in kind else 4]], kind)
    content = {"labels": array, "numbers": [np.dtype(kind).type(7)]}
    found = read_pickle(write(tmp_path / "x", pickle.dumps(content, protocol)))
    assert np.array_equal(found["labels"], array) and found["numbers"] == [7]


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Byte by byte, as numpy 1 under Python 2 pickled {"data": array([[7, 255]], uint8), "labels": [3]}."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    constructor = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    pixels = b"T" + struct.pack("<I", 2) + b"\x07\xff"
    array = constructor + b"(K\x01K\x01K\x02\x86" + kind + b"\x89" + pixels + b"tb"
    content = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](K\x03eu."
    found = read_pickle(write(tmp_path / "x", content))
    assert np.array_equal(found["data"], [[7, 255]]) and found["labels"] == [3]
    assert np.array_equal(pickle.loads(content, encoding="bytes")[b"data"], [[7, 255]])  # the fixture itself is right


def test_malicious_pickles_do_not_execute(tmp_path: Path) -> None:
    import builtins
    import os

    mark = tmp_path / "executed"
    harmful = {
        "system": Call(os.system, f"touch {mark}"),
        "eval": Call(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "open": Call(builtins.open, str(mark), "w"),
        "numpy": Call(np.save, str(mark), np.zeros(1, np.uint8)),
        "attribute": Call(np.ndarray.tofile, np.zeros(1, np.uint8), str(mark)),
    }
    for name, call in harmful.items():
        for protocol in (0, 2, 4):
            path = write(tmp_path / f"{name}{protocol}", pickle.dumps({b"data": call}, protocol))
            with pytest.raises(UserError, match="it asks for ") as caught:
                read_pickle(path)
            assert str(path) in str(caught.value) and not mark.exists()
    with pytest.raises(UserError, match="it asks for builtins.getattr"):
        read_pickle(write(tmp_path / "nested", b"\x80\x04c" + b"builtins\ngetattr\n."))
    pickle.loads((tmp_path / "system2").read_bytes())  # an ordinary reader does execute it
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({b"data": np.arange(9, dtype=np.float64)}, 2),
        pickle.dumps({b"data": np.array([{}], dtype=object)}, 2),
        pickle.dumps([1, 2, 3], 2),
        pickle.dumps({b"data": Call(np.dtype, "V8")}, 2),
        pickle.dumps({b"data": [np.float32(1)]}, 2),
        pickle.dumps({b"\xff": 1}, 3),
        b"\x80\x02}U\x04datacnumpy\nndarray\n)Rs.",  # an array that never gets its content
        b"",
        b"<html>404</html>",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="is damaged or not the published file") as caught:
        read_pickle(write(tmp_path / "x", content))
    assert str(tmp_path / "x") in str(caught.value)


def test_truncations_are_refused(tmp_path: Path) -> None:
    content = pickle.dumps({b"data": np.arange(16, dtype=np.uint8), b"labels": [1, 2]}, 2)
    for length in range(0, len(content), 3):
        with pytest.raises(UserError):
            read_pickle(write(tmp_path / "x", content[:length]))
