"""The pictures of a page: once, and in as few bytes as there is room for."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tdattr.report.album import FULL, THUMB, Album, shrink


def read(source: str) -> np.ndarray:
    """The pixels that a browser shows."""
    header, content = source.split(",")
    assert header in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def noise(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def test_the_same_picture_is_kept_once_whatever_asks_for_it() -> None:
    album = Album()
    first, second = noise(2, 32)
    assert [album.add(image, side) for image, side in ((first, FULL), (second, THUMB), (first, THUMB))] == [0, 1, 0]
    assert len(album.encode()) == 2


def test_small_pictures_are_kept_exactly_where_there_is_room() -> None:
    album = Album()
    pictures = [*noise(3, 32), *noise(2, 64), np.zeros((16, 9, 3), np.uint8)]
    numbers = [album.add(picture, THUMB) for picture in pictures]
    sources = album.encode()
    for number, picture in zip(numbers, pictures, strict=True):
        np.testing.assert_array_equal(read(sources[number]), picture)


def test_drawings_are_kept_exactly_and_photographs_are_not() -> None:
    album = Album()
    drawing = np.zeros((96, 96, 3), np.uint8)
    drawing[20:70, 30:50] = (255, 10, 90)
    album.add(drawing, THUMB), album.add(noise(1, 96)[0], THUMB)
    shown = [read(source) for source in album.encode()]
    np.testing.assert_array_equal(shown[0], drawing)
    assert not np.array_equal(shown[1], album.pictures[1])


@pytest.mark.parametrize("side", [32, 96])
def test_many_pictures_get_fewer_bytes_each(side: int) -> None:
    album = Album()
    for picture in noise(150, side):
        album.add(picture, THUMB)
    whole = sum(map(len, album.encode()))
    budget = whole // 3
    assert sum(map(len, album.encode(budget))) <= 1.05 * budget  # its size is estimated from a part of them
    assert sum(map(len, album.encode(1))) < budget  # where nothing fits, the smallest there is
    assert all(read(source).shape[0] >= min(side, 38) for source in album.encode(1))


def test_what_is_too_large_is_shrunk_to_what_is_shown() -> None:
    wide = noise(1, 300)[0][:100]
    assert shrink(wide, THUMB).shape == (32, 96, 3)
    assert shrink(wide, FULL) is wide
    assert shrink(wide[:1], 50).shape == (1, 50, 3)


def test_an_empty_album_is_no_error() -> None:
    assert Album().encode() == []
