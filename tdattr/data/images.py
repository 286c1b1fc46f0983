"""Image files as datasets are published in: which count, what identifies them, and reading one."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tdattr.errors import UserError

Fit = Literal["crop", "whole", "squash"]
Resize = Callable[[Image.Image, int, int], Image.Image]  # to a width and a height
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


def resize_image(image: Image.Image, width: int, height: int) -> Image.Image:
    """As torchvision resizes Pillow's images: bilinear, antialiased, rounded to whole numbers in each direction."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_tensor(image: Image.Image, width: int, height: int) -> Image.Image:
    """As torchvision resizes tensors of bytes: bilinear, antialiased, rounded once; by at most 1 of 255 another."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(
        pixels, (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    rounded = resized[0].round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(rounded).convert(image.mode)


def read_image(
    path: Path,
    resolution: int,
    channels: int,
    fit: Fit = "crop",
    crop: int | None = None,
    resize: Resize = resize_image,
) -> UInt8[np.ndarray, "height width channels"]:
    """The image upright, over white and resized, the shorter side or both to ``resolution``.

    ``fit``: ``crop`` (the shorter side bilinearly, then the central square), ``whole`` (the same without the crop) or
    ``squash`` (both sides bicubically). ``crop``: the central square of so many pixels, or of as many as there are, is
    cut out first. ``resize``: how the bilinear filter, antialiased in either case, is computed.
    Raises UserError for a file that is no image or is damaged.
    """
    image = open_image(path, MODES[channels])
    if crop is not None:
        image = cut_centre(image, min(*image.size, crop))
    if fit == "squash":
        image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(resolution, resolution, channels)
    shorter = min(image.size)
    # torchvision's Resize cuts the longer side down to a whole number
    width, height = (resolution if side == shorter else resolution * side // shorter for side in image.size)
    image = resize(image, width, height)
    if fit == "crop":
        image = cut_centre(image, resolution)
    return np.asarray(image).reshape(image.height, image.width, channels)


def open_image(path: Path, mode: str) -> Image.Image:
    """The image upright, over white. Raises UserError for a file that is no image or is damaged."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
                image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert(mode)
    except Exception as error:  # Pillow's readers raise all sorts of things for damaged files
        raise UserError(f"{path} cannot be read as an image ({error}): mend or remove it.") from error


def cut_centre(image: Image.Image, side: int) -> Image.Image:
    """The central square; where it cannot be central it lies where torchvision's CenterCrop has it."""
    left, top = (centre(length, side) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def centre(length: int, side: int) -> int:
    """Where the central ``side`` pixels of so many begin; a half is rounded to the even number."""
    return round((length - side) / 2)
