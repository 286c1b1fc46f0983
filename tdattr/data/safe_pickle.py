"""Reading the pickles that old datasets are published as, without running what a pickle may contain."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdattr.errors import UserError


class Bytes:
    """Stands in for ``numpy.dtype``: accepts unsigned bytes and nothing else."""

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of {code!r} instead of unsigned bytes")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class Array:
    """Stands in for ``numpy.ndarray``: ``value`` is the uint8 array that the pickle describes."""

    value: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], Bytes, bool, bytes]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, Bytes) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array of something else than unsigned bytes")
        self.value = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def reconstruct(kind: type, shape: tuple[int, ...], code: str | bytes) -> Array:
    """Stands in for numpy's ``_reconstruct``, which makes the empty array that the state then fills."""
    return Array()


def encode(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``: how Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


PERMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Bytes,
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("_codecs", "encode"): encode,
}


class Reader(pickle.Unpickler):
    """Plain containers, numbers, text, and the stand-ins above: nothing is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PERMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data file needs")
        return PERMITTED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of Python 2 or 3, its keys as text and its arrays as uint8 arrays.

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
