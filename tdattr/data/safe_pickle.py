"""Reading the pickles that old datasets are published as, without running what a pickle may contain."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdattr.errors import UserError

CODES = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]  # numpy's names of whole numbers


class Integers:
    """Stands in for ``numpy.dtype``: accepts whole numbers and nothing else."""

    value: np.dtype[Any]

    def __init__(self, code: str | bytes, align: int = False, copy: int = False) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code
        if self.code not in CODES:
            raise pickle.UnpicklingError(f"an array of {code!r} instead of whole numbers")
        self.value = np.dtype(self.code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Of numpy's state only the byte order means anything here."""
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.value = np.dtype(order + self.code if order in ("<", ">") else self.code)


class Array:
    """Stands in for ``numpy.ndarray``: ``value`` is the array that the pickle describes."""

    value: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], Integers, bool, bytes]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, Integers) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array of something else than whole numbers")
        self.value = np.frombuffer(content, kind.value).reshape(shape, order="F" if fortran else "C")


def reconstruct(kind: type, shape: tuple[int, ...], code: str | bytes) -> Array:
    """Stands in for numpy's ``_reconstruct``, which makes the empty array that the state then fills."""
    return Array()


def scalar(kind: Integers, content: bytes) -> int:
    """Stands in for numpy's ``scalar``, which makes one number of an array's type."""
    return int(np.frombuffer(content, kind.value)[0])


def encode(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``: how Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


PERMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Integers,
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("_codecs", "encode"): encode,
}


class Reader(pickle.Unpickler):
    """Plain containers, numbers, text, and the stand-ins above: nothing is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PERMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data file needs")
        return PERMITTED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of Python 2 or 3, its keys as text and its arrays, all of whole numbers.

    Raises UserError for a pickle that is cut short, damaged, holds no dictionary, or asks for anything but such arrays.
    """
    try:
        with path.open("rb") as file:
            content = Reader(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it holds no dictionary")
        return {
            key.decode() if isinstance(key, bytes) else key: value.value if isinstance(value, Array) else value
            for key, value in content.items()
        }
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(
            f"{path} is damaged or not the published file ({error}): delete it and fetch it again."
        ) from error
