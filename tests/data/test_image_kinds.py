"""Files of every kind that Pillow writes are read as people see them, at any size and beside one another."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tdattr.data.images import read_image
from tests.data.folders import prepared, source

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
LEFT = np.repeat([[True] * 4 + [False] * 4], 8, axis=0)  # of 8 x 8 pixels


def halves(left: Any, right: Any, dtype: Any = np.uint8) -> np.ndarray:
    """Pixels with one value in their left half and another in their right one."""
    shape = (8, 8, *np.shape(left))
    return np.where(LEFT.reshape(8, 8, *[1] * np.ndim(left)), left, right).astype(dtype).reshape(shape)


def palette() -> Image.Image:
    """Red beside blue, as a palette of two colours."""
    image = Image.fromarray(halves(0, 1), "P")
    image.putpalette([*RED, *BLUE])
    return image


def see(path: Path, left: Any, right: Any, off: int = 0) -> None:
    """The two halves are of these colours, give or take ``off``."""
    expected = np.where(LEFT[..., None], left, right)
    assert np.abs(read_image(path, 8, 3).astype(int) - expected).max() <= off, path.name


def test_what_is_clear_is_white(tmp_path: Path) -> None:
    palette().save(tmp_path / "index.png", transparency=1)
    palette().save(tmp_path / "alphas.png", transparency=b"\xff\x00")
    palette().save(tmp_path / "index.gif", transparency=1)
    Image.fromarray(halves((*RED, 255), (*BLUE, 0))).save(tmp_path / "alpha.webp", lossless=True)
    Image.fromarray(halves(RED, BLUE)).save(tmp_path / "key.png", transparency=BLUE)
    for name in ("index.png", "alphas.png", "index.gif", "alpha.webp", "key.png"):
        see(tmp_path / name, RED, WHITE)
    Image.fromarray(halves((100, 255), (7, 0))).save(tmp_path / "gray.png")
    Image.fromarray(halves((100, 255), (7, 0))).save(tmp_path / "gray.tif")
    Image.fromarray(halves(100, 7)).save(tmp_path / "gray_key.png", transparency=7)
    Image.fromarray(halves(257 * 100, 1001, np.uint16)).save(tmp_path / "deep_key.png", transparency=1001)
    for name in ("gray.png", "gray.tif", "gray_key.png", "deep_key.png"):
        see(tmp_path / name, (100,) * 3, WHITE)
    Image.fromarray(halves(257 * 100, 1002, np.uint16)).save(tmp_path / "deep_key.png", transparency=1001)
    see(tmp_path / "deep_key.png", (100,) * 3, (3,) * 3)  # another value of the same 8 bits
    Image.fromarray(halves((*RED, 128), (*BLUE, 255))).save(tmp_path / "half.png")
    see(tmp_path / "half.png", (255, 127, 127), BLUE)


def test_colours_of_every_mode(tmp_path: Path) -> None:
    palette().save(tmp_path / "palette.tif")
    Image.fromarray(halves(RED, BLUE)).convert("CMYK").save(tmp_path / "cmyk.tif")
    for name in ("palette.tif", "cmyk.tif"):
        see(tmp_path / name, RED, BLUE)
    Image.fromarray(halves(RED, BLUE)).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    Image.fromarray(halves(RED, BLUE)).save(tmp_path / "plain.jpg", quality=100, subsampling=0)
    Image.fromarray(halves(RED, BLUE)).save(tmp_path / "progressive.jpg", quality=100, subsampling=0, progressive=True)
    Image.fromarray(halves(RED, BLUE)).convert("LAB").save(tmp_path / "lab.tif")
    for name, off in (("cmyk.jpg", 4), ("plain.jpg", 4), ("progressive.jpg", 4), ("lab.tif", 24)):
        see(tmp_path / name, RED, BLUE, off)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "jpg"])
def test_the_first_of_several_pictures_is_read(tmp_path: Path, suffix: str) -> None:
    """Animations, pages of a TIFF, and the second picture that telephones put into a JPEG."""
    pictures = [Image.fromarray(halves(*colours)) for colours in ((RED, BLUE), (BLUE, WHITE), (WHITE, RED))]
    options: dict[str, Any] = {"webp": {"lossless": True}, "jpg": {"format": "MPO", "quality": 100}}.get(suffix, {})
    pictures[0].save(tmp_path / f"many.{suffix}", save_all=True, append_images=pictures[1:], **options)
    with Image.open(tmp_path / f"many.{suffix}") as opened:
        assert getattr(opened, "n_frames", 1) == 3
    see(tmp_path / f"many.{suffix}", RED, BLUE, off=90 if suffix == "jpg" else 0)  # colours of a JPEG bleed


def test_a_clear_animation_is_over_white(tmp_path: Path) -> None:
    pictures = [Image.fromarray(halves((*RED, 255), (*BLUE, 0))), Image.new("RGBA", (8, 8), (*BLUE, 255))]
    for suffix in ("gif", "webp", "png"):
        pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:], lossless=True)
        see(tmp_path / f"a.{suffix}", RED, WHITE)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 700), (700, 1), (2000, 3), (3, 2000), (5, 4)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_tiny_and_very_long_pictures(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    Image.new("RGB", size, (0, 128, 255)).save(
        tmp_path / f"a.{suffix}", **({"quality": 100} if suffix == "jpg" else {})
    )
    found = read_image(tmp_path / f"a.{suffix}", 16, 3)
    assert found.shape == (16, 16, 3) and np.abs(found.astype(int) - (0, 128, 255)).max() <= 6
    assert read_image(tmp_path / f"a.{suffix}", 16, 1).shape == (16, 16, 1)


def test_all_of_them_in_one_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(np.repeat(halves(RED, BLUE), 3, axis=1))
    palette().resize((40, 9)).save(raw / "a.png", transparency=1)
    Image.fromarray(halves((100, 255), (7, 0))).save(raw / "b.png")
    Image.fromarray(halves(257 * 100, 0, np.uint16)).save(raw / "c.png")
    wide.convert("CMYK").save(raw / "d.jpg")
    wide.save(raw / "e.jpg", exif=exif, progressive=True, quality=100, subsampling=0)
    palette().save(raw / "f.gif", save_all=True, append_images=[wide])
    Image.new("RGB", (1, 1), RED).save(raw / "g.webp", lossless=True)
    data = prepared(source(raw, condition="none"), tmp_path / "out")
    assert data.train.pixels.shape == (7, 8, 8, 3) and data.train.pixels.dtype == np.uint8
    turned = data.train.pixels[4].astype(int)  # upright, red is above blue
    assert np.abs(turned[0] - RED).max() <= 4 and np.abs(turned[-1] - BLUE).max() <= 4
    assert (data.train.pixels[6] == RED).all()
