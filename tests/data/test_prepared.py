"""The prepared form: what goes in comes out, damage is noticed, equal contents have equal digests."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr import files
from tdattr.data import preparation as module
from tdattr.data.preparation import UNREADABLE, prepare
from tdattr.data.prepared import FACTS, Counts, Example, Prepared, Source, load, one_hot, read_split
from tdattr.errors import UserError
from tdattr.files import known
from tdattr.tables import read_table


@dataclass(frozen=True)
class Tiny(Source):
    """A source whose items are given; ``missing`` items are announced but never come."""

    items: dict[str, list[Example]] = field(default_factory=dict)
    missing: int = 0

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(self.items[split]) + self.missing

    def examples(self, split: str) -> Iterator[Example]:
        yield from self.items[split]


def example(number: int, size: int = 4) -> Example:
    return Example(
        image=np.full((size, size, 3), number, np.uint8),
        condition=np.concatenate([one_hot(number % 3, 3), one_hot((number + 1) % 3, 3)]),
        prompts=(f'item {number}, "quoted"', "NA\nsecond line – Ünïcødé 猫"),
        fields={"label": f"{number % 2:02d}"},
    )


def tiny(train: int = 5, test: int = 2) -> Tiny:
    return Tiny({"train": [example(i) for i in range(train)], "test": [example(100 + i) for i in range(test)]})


def prepared(source: Tiny, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(source, folder, "tiny")
    return load(folder)


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


def test_unusable_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training images"):
        prepare(tiny(train=0), tmp_path, "tiny")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="should have 6 items but 5 were read"):
        prepare(replace(tiny(), missing=1), tmp_path / "b", "tiny")
    with pytest.raises(UserError, match=r"image of item 1 has shape \(5, 5, 3\)"):
        prepare(Tiny({"train": [example(0), example(1, size=5)], "test": []}), tmp_path, "tiny")


class Files(Source):
    """A source whose images are read when they are asked for: counts the reading, and can be interrupted or spoilt."""

    def __init__(
        self,
        count: int,
        stop_at: int | None = None,
        spoilt: tuple[int, ...] = (),
        tests: int = 0,
        skips: bool | None = None,
        stop_after: int = 0,
    ) -> None:
        self.numbers = {"train": range(count), "test": range(count, count + tests)}
        self.stop_at, self.spoilt, self.skips, self.stop_after = stop_at, spoilt, skips, stop_after
        self.read: list[int] = []

    @property
    def skips_unreadable(self) -> bool | None:
        return self.skips

    def fingerprint(self) -> dict[str, str]:
        return {}

    def count(self, split: str) -> int:
        return len(self.numbers[split])

    def examples(self, split: str) -> Iterator[Example]:
        for index in self.numbers[split]:
            yield Example(lambda index=index: self.image(index), None, (f"caption {index}", "x" * index))

    def image(self, index: int) -> np.ndarray:
        if index == self.stop_at and len(self.read) >= self.stop_after:
            raise KeyboardInterrupt
        if index in self.spoilt:
            raise UserError(f"{index}.jpg cannot be read: mend it.")
        self.read.append(index)
        return np.full((2, 2, 1), index, np.uint8)


def test_a_pickle_holds_paths_and_not_the_arrays(tmp_path: Path) -> None:
    data = prepared(tiny(train=150), tmp_path / "a")
    content = pickle.dumps(data.train.pixels), pickle.dumps(replace(data.train, items=data.train.items.iloc[:0]))
    assert len(content[1]) < len(content[0]) - 5000
    again = pickle.loads(pickle.dumps(data))
    assert isinstance(again.train.pixels, np.memmap) and np.array_equal(again.train.pixels, data.train.pixels)
    assert again.train.conditions is not None and isinstance(again.train.conditions, np.memmap)
    assert again.content == data.content and len(again.test) == 2


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    prepare(tiny(), tmp_path, "tiny")
    content = load(tmp_path).content
    (tmp_path / "provenance.json").write_text("{}")
    prepare(tiny(), tmp_path, "tiny")  # as after a kill at the very end
    assert load(tmp_path).content == content


def test_a_condition_needs_a_prompt(tmp_path: Path) -> None:
    bare = Tiny({"train": [Example(example(3).image)], "test": []})
    with pytest.raises(UserError, match=r"item 0 has no prompt to make a condition of: .*dataset.text=null"):
        prepare(bare, tmp_path, "tiny", lengths)


def lengths(texts: list[str]) -> np.ndarray:
    """A text encoder."""
    return np.array([[len(text), 1] for text in texts], np.float32)


def test_a_kill_costs_no_more_than_the_blocks_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    for each in (whole, folder):
        each.mkdir()
    prepare(Files(30), whole, "tiny", lengths)
    with pytest.raises(KeyboardInterrupt):
        prepare(Files(30, stop_at=21), folder, "tiny", lengths)
    again = Files(30)
    prepare(again, folder, "tiny", lengths)
    assert sorted(again.read) == list(range(20, 30))  # five blocks were complete
    assert load(folder).content == load(whole).content
    train = load(folder).train
    assert train.pixels[:, 0, 0, 0].tolist() == list(range(30))
    assert train.conditions is not None and train.conditions[:, 1, 0].tolist() == list(range(30))
    assert train.items["prompt"].tolist() == [f"caption {index}" for index in range(30)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize("name", ["train_images.npy", "train_conditions.npy", "train.progress"])
@pytest.mark.parametrize("stop_at", [21, 29])
def test_what_a_kill_leaves_is_read_again_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, stop_at: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    for each in (whole, folder):
        each.mkdir()
    prepare(Files(30), whole, "tiny", lengths)
    with pytest.raises(KeyboardInterrupt):
        prepare(Files(30, stop_at=stop_at), folder, "tiny", lengths)
    spoil(folder / name, 140 if name.endswith("npy") else 10)
    again = Files(30)
    prepare(again, folder, "tiny", lengths)
    assert sorted(again.read) == list(range(30)) and "starting over" in caplog.text
    assert load(folder).content == load(whole).content


def test_every_file_is_on_the_disk_before_it_says_that_a_split_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would leave a cut table, from which the next call would go on."""
    synced: list[str] = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path.name.partition(".csv")[0]))
    prepared(tiny(), tmp_path / "prepared")
    assert {"train_items", "test_items"} <= set(synced)


def test_a_kill_at_the_very_end_costs_nothing_unless_a_file_is_damaged(tmp_path: Path) -> None:
    prepare(Files(30), tmp_path, "tiny", lengths)
    content = load(tmp_path).content
    again = Files(30)
    prepare(again, tmp_path, "tiny", lengths)
    assert not again.read
    spoil(tmp_path / "train_images.npy", 200)
    known.clear()
    prepare(again, tmp_path, "tiny", lengths)
    assert sorted(again.read) == list(range(30)) and load(tmp_path).content == content


def spoil(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_unreadable_images_are_listed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    with pytest.raises(UserError, match=r"^5 images of tiny cannot be read, mend or remove them \(") as caught:
        prepare(Files(30, spoilt=(5, 9, 20, 28, 29)), tmp_path, "tiny")
    assert str(caught.value).endswith(f"({tmp_path / UNREADABLE} lists them), first: 5.jpg cannot be read: mend it.")
    assert [path.name for path in tmp_path.iterdir()] == [UNREADABLE]
    listed = read_table(tmp_path / UNREADABLE)
    assert listed["index"].tolist() == [5, 9, 20, 28, 29] and set(listed["split"]) == {"train"}
    assert listed["problem"].tolist()[-1] == "29.jpg cannot be read: mend it."
    mended = Files(30)
    prepare(mended, tmp_path, "tiny")
    assert sorted(mended.read) == list(range(30))  # mended files are another dataset
    assert load(tmp_path).train.pixels[:, 0, 0, 0].tolist() == list(range(30))
    assert not (tmp_path / UNREADABLE).exists()


def test_both_splits_are_tried(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^3 images of tiny cannot be read"):
        prepare(Files(6, spoilt=(2, 7, 8), tests=4), tmp_path, "tiny")
    assert read_table(tmp_path / UNREADABLE)["split"].tolist() == ["train", "test", "test"]


def test_unreadable_images_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, conditions and prompts are those of the items that are left; what was left out is listed, and not read again
    by a call that resumes."""
    monkeypatch.setattr(module, "BLOCK", 4)
    spoilt = (0, 9, 28, 31)
    with pytest.raises(KeyboardInterrupt):
        prepare(Files(30, stop_at=25, spoilt=spoilt, tests=4, skips=True, stop_after=30), tmp_path, "tiny")
    source = Files(30, spoilt=spoilt, tests=4, skips=True)
    prepare(source, tmp_path, "tiny")
    assert len(source.read) < 20  # those that the interrupted call had not written
    data = load(tmp_path)
    kept = [index for index in range(30) if index not in spoilt]
    assert data.train.pixels[:, 0, 0, 0].tolist() == kept and data.train.items["id"].tolist() == list(range(27))
    assert data.train.items["prompt"].tolist() == [f"caption {index}" for index in kept]
    assert data.test.pixels[:, 0, 0, 0].tolist() == [30, 32, 33] and data.facts["count"] == {"train": 27, "test": 3}
    assert data.facts["unreadable"] == 4 and read_table(tmp_path / UNREADABLE)["index"].tolist() == [0, 9, 28, 1]
    (tmp_path / "none").mkdir()
    prepare(Files(5, skips=True), tmp_path / "none", "tiny")
    assert "unreadable" not in load(tmp_path / "none").facts


def test_only_a_few_blocks_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    ahead: list[int] = []
    source = Files(40)

    def encode(texts: list[str]) -> np.ndarray:
        ahead.append(len(source.read) - 4 * len(ahead))
        return lengths(texts)

    prepare(source, tmp_path, "tiny", encode)
    assert len(ahead) == 10 and max(ahead) <= 8


def test_counts_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    source = Files(30)
    with pytest.raises(UserError, match=r"tiny should have 31 items in train but 30 were found: .*dataset.counts=null"):
        prepare(source, tmp_path, "tiny", counts=Counts(train=31, test=0))
    assert not source.read
    prepare(source, tmp_path, "tiny", counts=Counts(train=30))


def test_items_with_fewer_captions_than_the_first_are_refused(tmp_path: Path) -> None:
    class Uneven(Files):
        def examples(self, split: str) -> Iterator[Example]:
            for index, example in enumerate(super().examples(split)):
                yield replace(example, prompts=example.prompts[: 1 + (index != 3)])

    with pytest.raises(UserError, match=r"the condition of item 3 has shape \(1, 2\), not \(2, 2\)"):
        prepare(Uneven(6), tmp_path, "tiny", lengths)


@pytest.mark.parametrize("split", ["train", "test"])
def test_numbers_that_are_none_are_refused(split: str, tmp_path: Path) -> None:
    image, condition = np.zeros((4, 4, 1), np.uint8), np.ones((1, 2), np.float32)
    good, unfinished = Example(image, condition), Example(image, condition * np.nan)
    items = {"train": [good], "test": [good], split: [good, unfinished]}
    with pytest.raises(UserError, match=r"the condition of item 1 holds numbers that are not finite: mend its source"):
        prepare(Tiny(items), tmp_path, "tiny")
    with pytest.raises(UserError, match=r"the image of item 0 holds float32; a source gives pixels from 0 to 255 as"):
        prepare(Tiny({"train": [Example(image.astype(np.float32))], "test": []}), tmp_path / "other", "tiny")
