"""Image files as datasets are published in: which count, what identifies them, and reading one."""

import errno
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from tdattr.data.names import show_name
from tdattr.errors import UserError

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # ``max_pixels`` says what is too large

Fit = Literal["crop", "whole", "squash"]
Resize = Callable[[Image.Image, int, int], Image.Image]  # to a width and a height
SUFFIXES = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm",
    ".pgm", ".jp2", ".j2k", ".tga", ".ico",
}  # fmt: skip
OTHER_SUFFIXES = {  # of files that are images to people and are not read
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".hdr", ".pfm",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw",
}  # fmt: skip
MODES = {1: "L", 3: "RGB"}
MAX_PIXELS = 64_000_000  # that an image is decoded to
LIMIT_PIXELS = 178_956_970  # above which Pillow refuses to open an image
DEEP_FORMATS = ("PNG", "PPM")  # of which Pillow gives 16 bits as a mode of 32
REDUCTIONS = (2, 4, 8)  # of a JPEG's sides, while it is decoded
TURNS: dict[object, Image.Transpose] = {  # what an orientation in the EXIF undoes
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "height width channels"]:
    """The image upright, over white and resized, the shorter side or both to ``resolution``.

    ``fit``: ``crop`` (the shorter side bilinearly, then the central square), ``whole`` (the same without the crop) or
    ``squash`` (both sides bicubically). ``crop``: the central square of so many pixels, or of as many as there are, is
    cut out first. ``resize``: how the bilinear filter, antialiased in either case, is computed. ``max_pixels``: the
    largest image, see ``reduce_size``. Raises UserError for a file that is no image, is damaged or too large.
    """
    image = open_image(path, MODES[channels], resolution if crop is None else None, max_pixels)
    if crop is not None:
        image = cut_centre(image, min(*image.size, crop))
    if fit == "squash":
        image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(resolution, resolution, channels)
    shorter = min(image.size)
    # torchvision's Resize cuts the longer side down to a whole number
    width, height = (resolution if side == shorter else resolution * side // shorter for side in image.size)
    if width * height > max_pixels:
        raise UserError(f"{path} is too narrow to be resized, to {width} x {height} pixels: mend or remove it.")
    image = resize(image, width, height)
    if fit == "crop":
        image = cut_centre(image, resolution)
    return np.asarray(image).reshape(image.height, image.width, channels)


def open_image(path: Path, mode: str, smallest: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image upright, over white; ``smallest`` and ``max_pixels`` are those of ``reduce_size``.

    Raises UserError for a file that is no image, is damaged or too large, or does not say what is white.
    """
    try:
        with Image.open(path) as opened:
            reduce_size(opened, smallest, max_pixels)
            opened.load()
            turn = TURNS.get(read_orientation(opened, path))
            image = scale_values(opened if turn is None else opened.transpose(turn), opened.format)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise all sorts of things for damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):  # of the machine
            raise
        raise UserError(f"{path} cannot be read as an image ({error}): mend or remove it.") from error


def reduce_size(opened: Image.Image, smallest: int | None, max_pixels: int) -> None:
    """Have a JPEG of more than ``max_pixels`` decoded at a half, a quarter or an eighth of its sides, of which the
    shorter must not fall below ``smallest`` (None: none may be reduced). Raises ValueError where that is not enough."""
    width, height = opened.size
    if width * height <= max_pixels:
        return
    for factor in REDUCTIONS if isinstance(opened, JpegImageFile) and smallest is not None else ():
        reduced = width // factor, height // factor
        if reduced[0] * reduced[1] <= max_pixels and min(reduced) >= (smallest or 0):
            opened.draft(None, reduced)
            return
    raise ValueError(f"{width} x {height} pixels are more than max_pixels={max_pixels}, a setting of image_folder")


def read_orientation(opened: Image.Image, path: Path) -> object:
    """How the image must be turned, as its EXIF says; None where it says nothing, or is damaged, which is logged."""
    try:
        return opened.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # as above
        log.warning("The EXIF of %s is damaged (%s): it is taken as upright.", show_name(path), error)
        return None


def scale_values(image: Image.Image, form: str | None) -> Image.Image:
    """An image of more than 8 bits in 8; all others as they are. Raises ValueError where nothing says what is white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and form in DEEP_FORMATS):
        values = np.asarray(image)
        gray = (np.clip(values, 0, 65535) // 257).astype(np.uint8)
        clear = image.info.get("transparency")  # the value that is seen through, of 16 bits
        if clear is None:
            return Image.fromarray(gray)
        return Image.fromarray(np.stack([gray, np.where(values == clear, 0, 255).astype(np.uint8)], axis=-1))
    if image.mode == "F":
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 1:
            return Image.fromarray(np.round(255 * values).astype(np.uint8))
        raise ValueError("its numbers with a point do not lie between 0 and 1, so what is white is unknown")
    if image.mode == "I":
        raise ValueError("its whole numbers have 32 bits, so what is white is unknown: save it with 8 or 16")
    return image


def cut_centre(image: Image.Image, side: int) -> Image.Image:
    """The central square; where it cannot be central it lies where torchvision's CenterCrop has it."""
    left, top = (centre(length, side) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def centre(length: int, side: int) -> int:
    """Where the central ``side`` pixels of so many begin; a half is rounded to the even number."""
    return round((length - side) / 2)
