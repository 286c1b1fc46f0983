"""The prepared form: what goes in comes out, damage is noticed, equal contents have equal digests."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr.data import preparation as module
from tdattr.data.preparation import prepare
from tdattr.data.prepared import FACTS, Example, load, read_split
from tdattr.errors import UserError
from tdattr.files import known
from tests.data.sources import Tiny, example, lengths, prepared, tiny


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    data = prepared(tiny(), tmp_path / "a")
    assert (len(data.train), len(data.test), data.resolution, data.channels) == (5, 2, 4, 3)
    assert data.condition_size == 3
    for split, first in ((data.train, 0), (data.test, 100)):
        for index in range(len(split)):
            expected = example(first + index)
            assert np.array_equal(split.pixels[index], expected.image)
            assert split.conditions is not None and expected.condition is not None
            assert np.array_equal(split.conditions[index], expected.condition)
            row = split.items.iloc[index]
            assert (row.id, row.prompt, row.prompt1, row.label) == (index, *expected.prompts, expected.fields["label"])


def test_bytes_that_are_not_utf_8_stand_as_escapes(tmp_path: Path) -> None:
    """As the names of files may hold them, of which sources make fields and prompts."""
    odd = replace(example(0), prompts=("a caf\udce9 – é",) * 2, fields={"label": "caf\udce9"})
    items = prepared(Tiny({"train": [odd], "test": []}), tmp_path / "a").train.items
    assert items["label"].tolist() == ["caf\\xe9"] and items["prompt"].tolist() == ["a caf\\xe9 – é"]


def test_arrays_are_memory_mapped_and_read_only(tmp_path: Path) -> None:
    data = prepared(tiny(), tmp_path / "a")
    assert isinstance(data.train.pixels, np.memmap) and isinstance(data.train.conditions, np.memmap)
    with pytest.raises(ValueError):
        data.train.pixels[0] = 1


def test_images_and_conditions_as_tensors(tmp_path: Path) -> None:
    items = [replace(example(0), image=np.array([0, 51, 255], np.uint8).reshape(1, 1, 3)), example(1, size=1)]
    split = prepared(Tiny({"train": items, "test": []}), tmp_path / "a").train
    images = split.images(np.array([1, 0, 0]))
    assert images.shape == (3, 3, 1, 1) and images.dtype == torch.float32
    assert torch.allclose(images[1].flatten(), torch.tensor([-1.0, -0.6, 1.0])) and torch.equal(images[1], images[2])
    chosen = split.condition(np.array([1, 0]), np.array([1, 0]))
    assert chosen is not None and torch.equal(chosen, torch.tensor([[0.0, 0, 1], [1, 0, 0]]))


def test_x_is_the_image_mirrored_item_by_item(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items = [Example(rng.integers(256, size=(4, 6, 3), dtype=np.uint8)) for _ in range(4)]
    split = prepared(Tiny({"train": items, "test": []}), tmp_path / "a").train
    ids = np.array([2, 0, 3, 2])
    images = split.images(ids)
    assert images.shape == (4, 3, 4, 6) and torch.equal(split.x(ids), images)
    assert torch.equal(split.x(ids, True), images.flip(3)) and not torch.equal(images, images.flip(3))
    mirrored = split.x(ids, np.array([False, True, True, True]))
    assert torch.equal(mirrored[0], images[0])
    for index in (1, 2, 3):
        expected = np.ascontiguousarray(items[ids[index]].image[:, ::-1])  # type: ignore[index]
        assert torch.equal(mirrored[index], torch.from_numpy(expected).permute(2, 0, 1).float() / 127.5 - 1)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float16])
@pytest.mark.parametrize("shape", [(7,), (3, 5), ()], ids=str)
def test_conditions_keep_their_shape_and_type(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """For example the token ids of a prompt."""
    rng = np.random.default_rng(2)
    conditions = rng.integers(100, size=(6, 2, *shape)).astype(dtype)
    items = [replace(example(index), condition=condition) for index, condition in enumerate(conditions)]
    for test in (items[4:], []):
        data = prepared(Tiny({"train": items[:4], "test": test}), tmp_path / str(len(test)))
        assert data.condition_size == (shape[-1] if shape else 1)
        for split, expected in ((data.train, conditions[:4]), (data.test, conditions[4 : 4 + len(test)])):
            assert split.conditions is not None and split.conditions.dtype == dtype
            assert np.array_equal(split.conditions, expected) and split.conditions.shape[1:] == (2, *shape)
    assert isinstance(data.train.conditions, np.memmap)
    chosen = data.train.condition(np.array([3, 0]), np.array([1, 0]))
    assert chosen is not None and chosen.shape == (2, *shape)
    assert chosen.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype
    assert np.array_equal(chosen.numpy(), np.stack([conditions[3, 1], conditions[0, 0]]))
    first = data.train.condition(np.array([2]))
    assert first is not None and np.array_equal(first.numpy(), conditions[2:3, 0])


def test_token_ids_of_prompts(tmp_path: Path) -> None:
    def tokens(texts: list[str]) -> np.ndarray:
        return np.array([[1, len(text), 49407] for text in texts], np.int64)

    prepare(tiny(), tmp_path, "tiny", tokens)
    data = load(tmp_path)
    assert data.train.conditions is not None and data.train.conditions.dtype == np.int64
    assert data.train.conditions.shape == (5, 2, 3) and data.condition_size == 3 and data.test.captions == 2
    assert data.test.conditions is not None
    assert data.test.conditions[1, :, 1].tolist() == [len(prompt) for prompt in example(101).prompts]


@pytest.mark.parametrize("block", [2, 512])
@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        (np.zeros((2, 3), np.float64), "type float64, not float32"),
        (np.zeros((2, 3), np.int64), "type int64, not float32"),
        (np.zeros((2, 4), np.float32), r"shape \(2, 4\), not \(2, 3\)"),
        (np.zeros((1, 3), np.float32), r"shape \(1, 3\), not \(2, 3\)"),
        (np.zeros((2, 3, 1), np.float32), r"shape \(2, 3, 1\), not \(2, 3\)"),
        (None, r"shape None, not \(2, 3\)"),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_conditions_of_another_shape_or_type_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, condition: np.ndarray | None, complaint: str, block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    source = tiny()
    for split, index in (("train", 4), ("test", 0)):
        changed = Tiny({name: list(items) for name, items in source.items.items()})
        changed.items[split][index] = replace(changed.items[split][index], condition=condition)
        (tmp_path / split).mkdir()
        with pytest.raises(UserError, match=rf"^tiny \({split}\): the condition of item {index} has {complaint}\.$"):
            prepare(changed, tmp_path / split, "tiny")


def test_a_test_split_of_another_resolution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny \(test\): the image of item 0 has shape \(5, 5, 3\), not \(4, 4, 3\)"):
        prepare(Tiny({"train": [example(0)], "test": [example(1, size=5)]}), tmp_path, "tiny")


def test_unconditional_without_test_split(tmp_path: Path) -> None:
    bare = Tiny({"train": [Example(example(3).image)], "test": []})
    data = prepared(bare, tmp_path / "a")
    assert data.train.condition(np.array([0])) is None and data.condition_size == 0
    assert len(data.test) == 0 and data.test.pixels.shape == (0, 4, 4, 3) and not len(data.test.items)


@pytest.mark.parametrize("name", ["train_images.npy", "train_conditions.npy", "test_items.csv"])
def test_damage_is_noticed(tmp_path: Path, name: str) -> None:
    prepared(tiny(), tmp_path / "a")
    path = tmp_path / "a" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    known.clear()  # as another process
    with pytest.raises(UserError, match=name):
        load(tmp_path / "a")
    path.unlink()
    with pytest.raises(UserError, match=f"{name} is missing or damaged: `rm -r {tmp_path}/a`, and the same command"):
        load(tmp_path / "a")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": null}'])
def test_damaged_facts_are_noticed(tmp_path: Path, content: str) -> None:
    prepared(tiny(), tmp_path / "a")
    (tmp_path / "a" / FACTS).write_text(content)
    with pytest.raises(UserError, match=f"{FACTS} is missing or damaged"):
        load(tmp_path / "a")


def test_a_split_without_its_images_is_not_there(tmp_path: Path) -> None:
    prepared(tiny(test=0), tmp_path / "a")
    assert len(read_split(tmp_path / "a", "test")) == 0
    (tmp_path / "a" / "train_images.npy").unlink()
    for split in ("train", "test"):
        with pytest.raises(FileNotFoundError, match=r"train_images\.npy"):
            read_split(tmp_path / "a", split)


def test_content_digest_follows_the_content(tmp_path: Path) -> None:
    first = prepared(tiny(), tmp_path / "a").content
    assert prepared(tiny(), tmp_path / "b").content == first

    def changed(**values: object) -> Tiny:
        source = tiny()
        source.items["train"][3] = replace(source.items["train"][3], **values)  # type: ignore[arg-type]
        return source

    other = example(3).image.copy()
    other[0, 0, 0] += 1
    variants = [
        changed(image=other),
        changed(condition=np.zeros((2, 3), np.float32)),
        changed(prompts=("another", "text")),
        changed(fields={"label": "07"}),
        tiny(train=4),
        tiny(test=1),
        Tiny({"train": tiny().items["train"][::-1], "test": tiny().items["test"]}),
    ]
    digests = [prepared(source, tmp_path / str(number)).content for number, source in enumerate(variants)]
    assert len({first, *digests}) == 1 + len(variants)


def test_a_pickle_holds_paths_and_not_the_arrays(tmp_path: Path) -> None:
    data = prepared(tiny(train=150), tmp_path / "a")
    content = pickle.dumps(data.train.pixels), pickle.dumps(replace(data.train, items=data.train.items.iloc[:0]))
    assert len(content[1]) < len(content[0]) - 5000
    again = pickle.loads(pickle.dumps(data))
    assert isinstance(again.train.pixels, np.memmap) and np.array_equal(again.train.pixels, data.train.pixels)
    assert again.train.conditions is not None and isinstance(again.train.conditions, np.memmap)
    assert again.content == data.content and len(again.test) == 2


def test_a_condition_needs_a_prompt(tmp_path: Path) -> None:
    bare = Tiny({"train": [Example(example(3).image)], "test": []})
    with pytest.raises(UserError, match=r"item 0 has no prompt to make a condition of: .*dataset.text=null"):
        prepare(bare, tmp_path, "tiny", lengths)
