"""Images of different shapes: every window of them is a part of the image that went in."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import CenterCrop

from tdattr.data import preparation as module
from tdattr.data.mapped import Mapped
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Example, Prepared, load
from tdattr.data.strips import Strips
from tdattr.errors import UserError
from tdattr.rows import Rows
from tests.data.windows import SHAPES, SIDE, LongImages, cut, image, slack


def prepared(source: LongImages, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(source, folder, "long")
    return load(folder)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setattr(module, "BLOCK", 4)
    return prepared(LongImages(), tmp_path / "data")


def test_the_centre_is_torchvisions(data: Prepared) -> None:
    assert (len(data.train), len(data.test), data.resolution, data.channels) == (21, 7, SIDE, 1)
    crop = CenterCrop(SIDE)
    for split, name in ((data.train, "train"), (data.test, "test")):
        expected = [crop(torch.from_numpy(image(index, name)).permute(2, 0, 1)) for index in range(len(split))]
        ids = np.random.default_rng(1).permutation(len(split))
        whole = torch.stack(expected).float() / 127.5 - 1
        assert torch.equal(split.images(ids), whole[ids]) and torch.equal(split.x(ids), whole[ids])
        assert torch.equal(split.x(ids, True), whole[ids].flip(-1))


def test_every_window_is_reached_and_none_beyond(data: Prepared) -> None:
    ids = np.arange(len(SHAPES))
    for index in ids:
        offsets = np.arange(slack(index) + 1)
        position = (offsets[:, None] + [0.0, 0.999999]) / len(offsets)  # both ends of what chooses a window
        for ends in position.T:
            seen = data.train.images(np.full(len(offsets), index), ends)
            expected = np.stack([cut(index, offset) for offset in offsets])
            assert torch.equal(seen, torch.from_numpy(expected).permute(0, 3, 1, 2).float() / 127.5 - 1)


def test_indexed_like_an_array_of_central_windows(data: Prepared) -> None:
    pixels = data.train.pixels
    assert isinstance(pixels, Strips) and pixels.shape == (21, SIDE, SIDE, 1) and len(pixels) == 21
    centres = np.stack([cut(index, round(slack(index) / 2)) for index in range(21)])
    for ids in (3, -1, slice(2, 9), np.array([5, 0, 5]), np.arange(21) % 2 == 0):
        assert np.array_equal(pixels[ids], centres[ids])
    with pytest.raises(IndexError):
        pixels[21]


def test_images_are_mapped_and_travel_as_paths(data: Prepared) -> None:
    pixels = data.train.pixels
    assert isinstance(pixels, Strips) and isinstance(pixels.lines, np.memmap) and isinstance(pixels.spans, np.memmap)
    assert pixels.lines.shape == (sum(max(SHAPES[index % len(SHAPES)]) for index in range(21)), SIDE, 1)
    assert {type(value) for value in pixels.__getstate__().values()} == {Mapped}
    again = pickle.loads(pickle.dumps(data.train))
    assert torch.equal(again.images(np.arange(21)), data.train.images(np.arange(21)))


def test_a_kill_costs_no_more_than_the_blocks_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    whole = prepared(LongImages(), tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        prepare(LongImages(stop_at=14), folder, "long")
    with (folder / "train_images.npy").open("ab") as file:  # what a kill left between the images and the mark
        file.write(b"x" * 1000)
    again = LongImages()
    prepare(again, folder, "long")
    assert sorted(again.seen) == sorted([*range(12, 21), *range(7)])  # three blocks were complete
    assert load(folder).content == whole.content


def test_unreadable_images_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    with pytest.raises(UserError, match=r"^1 image of long cannot be read.* first: 9.jpg cannot be read"):
        prepare(LongImages(spoilt=9), tmp_path, "long")
    assert [path.name for path in tmp_path.iterdir()] == [module.UNREADABLE]


def test_a_shorter_side_that_is_not_the_window_is_refused(tmp_path: Path) -> None:
    class Narrow(LongImages):
        def examples(self, split: str):
            for index, example in enumerate(super().examples(split)):
                yield replace(example, image=np.zeros((7, 12, 1), np.uint8)) if index == 2 else example

    with pytest.raises(UserError, match=r"the image of item 2 has 7 x 12 pixels; its shorter side must have 8"):
        prepare(Narrow(), tmp_path, "long")


def test_a_dataset_of_one_shape_is_stored_as_ever(tmp_path: Path) -> None:
    class Plain(LongImages):
        window = None

        def examples(self, split: str):
            yield from (Example(image(7 * index)) for index in range(self.count(split)))

    data = prepared(Plain(), tmp_path / "data")
    assert not list((tmp_path / "data").glob("*spans*"))
    assert isinstance(data.train.pixels, np.memmap) and data.train.pixels.shape == (21, 8, 8, 1)
    ids = np.arange(21)
    assert torch.equal(data.train.images(ids, np.full(21, 0.9)), data.train.images(ids))


def test_the_header_of_a_growing_file_keeps_its_size(tmp_path: Path) -> None:
    """Otherwise the lines behind it would have to move."""
    rows = Rows(tmp_path, "x", 4)
    pieces = [np.full((count, 2, 3), count % 256, np.uint8) for count in (1, 9, 90, 12_000)]
    for piece in pieces:
        rows.append("lines", piece)
        rows.write(spans=np.zeros((1, 1)))
    assert np.array_equal(np.load(tmp_path / "x_lines.npy"), np.concatenate(pieces))
    sizes = set()
    for length in (1, 10**3, 10**6, 10**10):
        header = {"descr": "|u1", "fortran_order": False, "shape": (length, 64, 3)}
        with (tmp_path / "header").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            sizes.add(file.tell())
    assert len(sizes) == 1
