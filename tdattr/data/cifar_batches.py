"""What the CIFAR datasets and ArtBench-10 are published in: pickled batches of 32 x 32 colour images."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tdattr.data.safe_pickle import read_pickle
from tdattr.errors import UserError

SIZE = 32


def find_files(root: Path, folder: str, names: list[str], name: str, fetch: str) -> dict[str, Path]:
    """Where each file lies: in ``root``, or in the folder of that name below it.

    Raises UserError, naming the dataset and how to ``fetch`` it, where one is missing.
    """
    location = next((path for path in (root, root / folder) if (path / names[0]).is_file()), root / folder)
    missing = [file for file in names if not (location / file).is_file()]
    if missing:
        raise UserError(
            f"{name} is not in {root} ({', '.join(missing)} missing): give its folder with "
            f"dataset.source.root=<folder>, or fetch it with {fetch}"
        )
    return {file: location / file for file in names}


def torchvision(name: str, root: Path) -> str:
    """The command by which torchvision fetches a dataset."""
    return f"python -c \"from torchvision.datasets import {name}; {name}('{root}', download=True)\""


def read_batch(path: Path, classes: Mapping[str, int]) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Images uint8 [item, 32, 32, 3] and the labels under each key of one file. Raises UserError where it is damaged.

    A file is a dictionary of ``data``, uint8 [item, 3072]: red, then green, then blue, each row by row; and lists of
    labels, which ``classes`` names, each with its number of classes.
    """
    content = read_pickle(path)
    data = content.get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIZE**2:
        raise UserError(f"{path} holds no images of 3 x 32 x 32 bytes under data: delete it and fetch it again.")
    labels = {}
    for key, count in classes.items():
        values = content.get(key)
        values = values.tolist() if isinstance(values, np.ndarray) else values
        if (
            not isinstance(values, list)
            or len(values) != len(data)
            or any(value not in range(count) for value in values)
        ):
            raise UserError(
                f"{path} does not hold one label of 0..{count - 1} per image under {key}: delete it and fetch it again."
            )
        labels[key] = values
    return data.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1), labels


def read_names(path: Path, key: str, count: int) -> list[str]:
    """The class names under a key, in the order of the labels. Raises UserError where the file is damaged."""
    names = read_pickle(path).get(key)
    if not isinstance(names, list) or len(names) != count:
        raise UserError(f"{path} does not hold {count} class names under {key}: delete it and fetch it again.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
