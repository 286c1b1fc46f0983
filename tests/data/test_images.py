"""Images are resized as torchvision resizes them, bit by bit, and cut out where it cuts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from tdattr.data.images import Fit, read_image, resize_tensor

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
