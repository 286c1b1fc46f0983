"""Images and bytes: every byte survives the way there and back."""

import numpy as np
import pytest
import torch

from tdattr.image_bytes import pack, quantise, unpack
from tdattr.pictures import to_uint8


def test_every_byte_survives() -> None:
    pixels = np.arange(2 * 128 * 3, dtype=np.int64).reshape(2, 8, 16, 3).astype(np.uint8)
    images = unpack(pixels)
    assert images.shape == (2, 3, 8, 16) and (images.min(), images.max()) == (-1, 1)
    assert np.array_equal(pack(images), pixels) and np.array_equal(to_uint8(images), pixels)


@pytest.mark.parametrize("value", [-7.0, -1.0, -0.9961, 0.0, 0.2, 1.0, 3.0])
def test_the_nearest_byte_of_any_value(value: float) -> None:
    image = torch.full((1, 1, 2, 2), value)
    nearest = int(np.abs(np.arange(256) / 127.5 - 1 - np.clip(value, -1, 1)).argmin())
    assert {int(byte) for byte in quantise(image).flatten()} <= ({127, 128} if value == 0 else {nearest})
