"""Images are resized as torchvision resizes them, bit by bit, and cut out where it cuts."""

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from tdattr.data.images import SUFFIXES, Fit, open_image, read_image, resize_tensor
from tdattr.data.listing import list_folder
from tdattr.errors import UserError

SIZES = [(40, 40), (53, 37), (37, 53), (95, 64), (20, 9)]  # the last is made larger


@pytest.fixture
def photo(tmp_path: Path):
    """A picture of that width and height as a file, and as Pillow has it."""

    def make(size: tuple[int, int], mode: str = "RGB") -> tuple[Path, Image.Image]:
        width, height = size
        pixels = np.random.default_rng(width).integers(256, size=(height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        image.save(tmp_path / "photo.png")
        return tmp_path / "photo.png", image

    return make


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_as_torchvision_resizes_and_crops_images(photo, size: tuple[int, int], mode: str) -> None:
    path, image = photo(size, mode)
    resized = Resize(16)(image)
    channels = len(image.getbands())
    expected = {
        "whole": resized,
        "crop": CenterCrop(16)(resized),
        "squash": Resize((16, 16), InterpolationMode.BICUBIC)(image),
    }
    for fit, picture in expected.items():
        pixels = read_image(path, 16, channels, fit)
        assert pixels.shape == (picture.height, picture.width, channels) and pixels.dtype == np.uint8
        assert np.array_equal(pixels.squeeze(), np.asarray(picture)), fit


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["crop", "whole"])
def test_as_torchvision_resizes_tensors(photo, size: tuple[int, int], fit: Fit) -> None:
    path, image = photo(size)
    resized = Resize(16)(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    expected = (CenterCrop(16)(resized) if fit == "crop" else resized).permute(1, 2, 0).numpy()
    pixels = read_image(path, 16, 3, fit, resize=resize_tensor)
    assert np.array_equal(pixels, expected)
    assert np.abs(pixels.astype(int) - read_image(path, 16, 3, fit)).max() <= 1


def test_the_longer_side_is_cut_down_to_a_whole_number(photo) -> None:
    assert read_image(photo((640, 427))[0], 64, 3, "whole").shape == (64, 95, 3)  # 95.9: one of COCO's usual sizes
    assert read_image(photo((427, 640))[0], 64, 3, "whole").shape == (95, 64, 3)


def test_a_square_is_cut_out_before_resizing(photo) -> None:
    """As D-TRAK does it with CelebA's faces."""
    path, image = photo((89, 109))
    expected = Resize(32)(CenterCrop(70)(image))
    assert np.array_equal(read_image(path, 32, 3, crop=70), np.asarray(expected))
    whole = read_image(path, 32, 3, crop=500)  # there is no more than the smaller side
    assert np.array_equal(whole, np.asarray(Resize(32)(CenterCrop(89)(image))))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_kind_of_file_that_counts_as_an_image_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    smooth = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8) * 4  # what compression keeps
    format = {".apng": "PNG", ".jpe": "JPEG", ".jfif": "JPEG", ".pgm": "PPM", ".ico": "ICO"}.get(suffix)
    Image.fromarray(smooth).save(path, format)
    assert [found.name for found in list_folder(tmp_path).images] == [path.name]
    difference = read_image(path, 32, 1)[..., 0].astype(int) - smooth
    assert np.abs(difference).max() <= 8


def save_deep(path: Path, values: np.ndarray) -> Path:
    """A TIFF of 32 bits a pixel."""
    Image.fromarray(values).save(path)
    return path


def test_images_of_32_bits_are_scaled_or_refused(tmp_path: Path) -> None:
    """Where nothing says what is white, they would become black without a word."""
    values = np.random.default_rng(0).random((8, 8), np.float32)
    pixels = read_image(save_deep(tmp_path / "unit.tif", values), 8, 1)
    assert np.array_equal(pixels[..., 0], np.round(255 * values).astype(np.uint8)) and pixels.max() > 200
    for name, wrong in (
        ("bytes.tif", 255 * values),
        ("below.tif", values - 0.5),
        ("nan.tif", np.where(values < 0.5, np.nan, values).astype(np.float32)),
        ("whole.tif", (values * 65535).astype(np.int32)),
    ):
        with pytest.raises(UserError, match=rf"{name} cannot be read as an image \(its .* white is unknown"):
            read_image(save_deep(tmp_path / name, wrong), 8, 1)


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(65536, size=(8, 8), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    Image.fromarray(values).save(tmp_path / "deep.tif")
    (tmp_path / "deep.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        assert np.array_equal(read_image(tmp_path / name, 8, 1)[..., 0], (values // 257).astype(np.uint8)), name


def make_exif(*entries: bytes) -> bytes:
    """The EXIF of an image that is to be turned to the right by a quarter, with more entries of a TIFF's directory."""
    turn = struct.pack("<HHII", ExifTags.Base.Orientation, 3, 1, 6)
    count = struct.pack("<H", 1 + len(entries))
    return b"Exif\0\0II*\0\x08\0\0\0" + count + b"".join(sorted([turn, *entries])) + b"\0\0\0\0"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_exif_does_no_harm(photo, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    _, image = photo((16, 16))
    image.save(tmp_path / f"plain.{suffix}")
    upright = read_image(tmp_path / f"plain.{suffix}", 16, 3)
    too_large = struct.pack("<HHII", ExifTags.Base.ResolutionUnit, 4, 1, 2**32 - 1)
    negative = struct.pack("<HHIi", ExifTags.Base.ImageWidth, 9, 1, -1)
    for entry in (too_large, negative):  # which nobody asked for, and Pillow cannot write again
        image.save(tmp_path / f"odd.{suffix}", exif=make_exif(entry))
        assert np.array_equal(read_image(tmp_path / f"odd.{suffix}", 16, 3), np.rot90(upright, -1))
    assert not caplog.messages
    image.save(tmp_path / f"none.{suffix}", exif=b"Exif\0\0no TIFF at all")
    assert np.array_equal(read_image(tmp_path / f"none.{suffix}", 16, 3), upright)
    if suffix == "png":
        assert "none.png is damaged (not a TIFF file" in caplog.text and "it is taken as upright" in caplog.text


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_stand_upright_as_pillow_turns_them(photo, tmp_path: Path, orientation: int, suffix: str) -> None:
    _, image = photo((24, 16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(tmp_path / f"turned.{suffix}", exif=exif)
    with Image.open(tmp_path / f"turned.{suffix}") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(read_image(tmp_path / f"turned.{suffix}", 16, 3, "whole"), expected)


def test_large_images_are_reduced_or_refused(photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG is decoded at the largest of the sizes that its format offers; what cannot be is not decoded at all."""
    path, _ = photo((400, 300))
    smooth = Image.fromarray(np.linspace(0, 255, 400 * 300 * 3).reshape(300, 400, 3).astype(np.uint8))
    smooth.save(tmp_path / "large.jpg", quality=95)
    whole = read_image(tmp_path / "large.jpg", 16, 3)
    decoded = []
    load = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, *rest: (decoded.append(self.size), load(self, *rest))[1])
    for limit, size in ((120_000, (400, 300)), (119_999, (200, 150)), (7_500, (100, 75)), (1_900, (50, 38))):
        pixels = read_image(tmp_path / "large.jpg", 16, 3, max_pixels=limit)
        assert decoded.pop() == size and np.abs(pixels.astype(int) - whole).max() <= 4
    for refused, resolution in (("large.jpg", 38), ("photo.png", 16)):
        with pytest.raises(UserError, match=rf"{refused} .*400 x 300 pixels are more than max_pixels=5000"):
            read_image(path.parent / refused, resolution, 3, max_pixels=5000)
    with pytest.raises(UserError, match="large.jpg"):  # what a crop counts are pixels of the whole image
        read_image(tmp_path / "large.jpg", 16, 3, crop=20, max_pixels=5000)
    assert not decoded


def test_a_line_is_not_blown_up(photo) -> None:
    path, _ = photo((3000, 1))
    with pytest.raises(UserError, match="too narrow to be resized, to 192000 x 64"):
        read_image(path, 64, 3, max_pixels=10_000_000)


def test_more_than_pillow_opens(tmp_path: Path) -> None:
    """13 000 squared in a few kilobytes is refused before it is decoded, and larger ones by Pillow itself."""
    for side, words in ((13_000, "13000 x 13000 pixels are more than"), (20_000, "exceeds limit of 178956970")):
        parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", b"none")]
        chunks = [
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        ]
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        with pytest.raises(UserError, match=words):
            read_image(tmp_path / "bomb.png", 16, 1)


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "x"), MemoryError()]
)
def test_trouble_of_the_machine_is_no_damage_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Else ``unreadable=skip`` would leave a good image out, for ever."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(type(error)) as caught:
        open_image(tmp_path / "a.png", "L")
    assert caught.value is error
