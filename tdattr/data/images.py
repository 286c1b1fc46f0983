"""Image files as datasets are published in: which count, what identifies them, and reading one."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tdattr.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MODES = {1: "L", 3: "RGB"}


def list_images(paths: Iterable[Path], root: Path) -> list[Path]:
    """Those that are files, end like an image, and are not hidden below ``root``; sorted."""
    matching = (path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in matching if not any(part.startswith(".") for part in path.relative_to(root).parts))


def list_folders(root: Path) -> list[Path]:
    """The folders directly in ``root`` that are not hidden, sorted; none where ``root`` is no folder."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def stamp(paths: Iterable[Path], root: Path, remedy: str = "run the command again.") -> str:
    """A digest of the images' names below ``root``, sizes and times of change (reading them all would take long).

    Raises UserError, ending in ``remedy``, where files are missing; it names the first and says how many they are.
    """
    total = hashlib.sha256()
    missing = []
    for path in paths:
        try:
            facts = path.stat()
        except OSError:
            missing.append(path)
        else:
            name = path.relative_to(root).as_posix()
            total.update(json.dumps([name, facts.st_size, facts.st_mtime_ns]).encode())
    if missing:
        others = f" ({len(missing)} images in all)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]} is missing{others}: {remedy}")
    return total.hexdigest()


def read_image(path: Path, resolution: int, channels: int, side: int | None = None, squash: bool = False) -> np.ndarray:
    """uint8 [resolution, resolution, channels]: upright, over white, cropped to the central square, resized.

    The square is as large as the image allows, or ``side`` pixels; with ``squash`` the whole image is resized instead.
    Raises UserError for a file that is no image or is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
                image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert(MODES[channels])
    except Exception as error:  # Pillow's readers raise all sorts of things for damaged files
        raise UserError(f"{path} cannot be read as an image ({error}): mend or remove it.") from error
    if not squash:
        side = min(*image.size, side or min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    resized = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(resolution, resolution, channels)
