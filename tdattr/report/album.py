"""The pictures of a page: each is in it once, in as few bytes as there is room for."""

import base64
import hashlib
import io
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

BUDGET = 10**7  # bytes that the pictures of a page may take, as text
SAMPLE = 96  # pictures whose sizes say what all will take
FEW_COLOURS = 32  # of a drawing, which is the smaller the more exactly it is kept
SMALLEST = 48  # pixels: a side that is never shrunk further
TINY = 24  # pixels: a side below which WebP's quality saves little
FULL, HALF, THUMB = 512, 256, 96  # the longer side, in pixels, of what is shown large, beside another, and small


@dataclass(frozen=True)
class Quality:
    """How well pictures are kept: exactly up to a side of ``exact`` pixels; others shrunk, by WebP's ``webp``."""

    exact: int
    scale: float
    webp: int


QUALITIES = (
    Quality(64, 1.0, 88),
    Quality(64, 1.0, 75),
    Quality(TINY, 1.0, 90),
    Quality(TINY, 1.0, 75),
    Quality(TINY, 0.75, 65),
    Quality(TINY, 0.5, 50),
    Quality(0, 0.4, 30),
)


@dataclass
class Album:
    """Those of one page; a picture is known by its number."""

    pictures: list[UInt8[np.ndarray, "h w 3"]] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, image: UInt8[np.ndarray, "h w 3"], side: int) -> int:
        """The number of a picture whose longer side is shown at ``side`` pixels at most."""
        image = np.ascontiguousarray(shrink(image, side))
        key = hashlib.blake2b(image.tobytes() + repr(image.shape).encode()).digest()
        if key not in self.numbers:
            self.numbers[key] = len(self.pictures)
            self.pictures.append(image)
        return self.numbers[key]

    def encode(self, budget: int = BUDGET) -> list[str]:
        """The source of an <img> for every picture, by the best quality at which all of them together take no more than
        ``budget`` bytes; by the last one where none does."""
        step = max(1, len(self.pictures) // SAMPLE)
        sample = self.pictures[::step]
        for quality in QUALITIES:
            estimate = sum(len(encode(image, quality)) for image in sample) * len(self.pictures) / max(1, len(sample))
            if estimate <= budget:
                break
        return [encode(image, quality) for image in self.pictures]


def shrink(image: UInt8[np.ndarray, "h w 3"], side: float) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """The image, or a smaller one where its longer side is above ``side`` pixels."""
    from PIL import Image

    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def encode(image: UInt8[np.ndarray, "h w 3"], quality: Quality) -> str:
    """A picture as text: exactly, as PNG or WebP, whichever is smaller, where it is small or drawn in few colours."""
    longer = max(image.shape[:2])
    if longer <= quality.exact or (longer <= HALF and has_few_colours(image)):
        options = [("png", save(image, "PNG", optimize=True)), ("webp", save(image, "WEBP", lossless=True, quality=50))]
        kind, content = min(options, key=lambda option: len(option[1]))
    else:
        shrunk = shrink(image, max(SMALLEST, longer * quality.scale))
        kind, content = "webp", save(shrunk, "WEBP", quality=quality.webp, method=4)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def has_few_colours(image: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether it is a drawing rather than a photograph."""
    from PIL import Image

    return Image.fromarray(image).getcolors(FEW_COLOURS) is not None


def save(image: UInt8[np.ndarray, "h w 3"], form: str, **options: object) -> bytes:
    """A file's content."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=form, **options)
    return buffer.getvalue()
