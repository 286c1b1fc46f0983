"""Preparing a dataset: what a kill costs, which images cannot be read, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tdattr import files
from tdattr.data import preparation as module
from tdattr.data.preparation import UNREADABLE, prepare
from tdattr.data.prepared import Counts, Example, load
from tdattr.errors import UserError
from tdattr.files import known
from tdattr.tables import read_table
from tests.data.sources import Files, Tiny, example, lengths, prepared, tiny


def test_unusable_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training images"):
        prepare(tiny(train=0), tmp_path, "tiny")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="should have 6 items but 5 were read"):
        prepare(replace(tiny(), missing=1), tmp_path / "b", "tiny")
    with pytest.raises(UserError, match=r"image of item 1 has shape \(5, 5, 3\)"):
        prepare(Tiny({"train": [example(0), example(1, size=5)], "test": []}), tmp_path, "tiny")


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    prepare(tiny(), tmp_path, "tiny")
    content = load(tmp_path).content
    (tmp_path / "provenance.json").write_text("{}")
    prepare(tiny(), tmp_path, "tiny")  # as after a kill at the very end
    assert load(tmp_path).content == content


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
            for index, item in enumerate(super().examples(split)):
                yield replace(item, prompts=item.prompts[: 1 + (index != 3)])

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
