"""Folders of small images, and the dataset that is made of one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tdattr.data.image_folder import ImageFolder
from tdattr.data.images import MAX_PIXELS
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, load


def pixels(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def put(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)


def source(root: Path, **values: Any) -> ImageFolder:
    plain = ImageFolder(
        str(root),
        resolution=8,
        channels=3,
        condition="group",
        held_out=0,
        captions=None,
        max_pixels=MAX_PIXELS,
        unreadable="stop",
    )
    return replace(plain, **values)


def prepared(wanted: ImageFolder, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "image_folder")
    return load(folder)
