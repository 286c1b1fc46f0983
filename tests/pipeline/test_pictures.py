"""Pictures of one's own: which files they are, and what their names say that they show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tdattr.data.images import open_image
from tdattr.data.prepared import Split
from tdattr.errors import UserError
from tdattr.pipeline import pictures
from tdattr.pipeline.pictures import (
    adopt_pictures,
    check_readable,
    list_pictures,
    tell_conditions,
    tell_prompts,
    tell_shown,
    warn_of_others,
)
from tdattr.queries import QueriesConfig

KINDS = ["cat", "dog", "cat", "dog"]
CONDITIONS = np.array([[[float(kind == "cat"), float(kind == "dog")]] for kind in KINDS], np.float32)
ANIMALS = Split(np.zeros((4, 2, 2, 1), np.uint8), CONDITIONS, pd.DataFrame({"id": range(4), "kind": KINDS}))


def config(**told: Any) -> QueriesConfig:
    rest = dict.fromkeys(("prompts", "prompt", "where", "conditions", "seeds", "captions", "condition", "images"))
    numbers = {"attributed": 1, "controls": 0, "guidance": None, "batch_size": 1, "explained": "attributed"}
    return QueriesConfig(**(numbers | rest | told))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "cats/1.webp", ".hidden.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 7)).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_files_and_folders_are_listed_by_name(folder: Path) -> None:
    photos = folder / "photos"
    assert list(list_pictures(str(photos))) == ["a.jpg", "b.png", "cats/1.webp"]
    both = list_pictures([str(photos / "b.png"), str(photos / "cats")])
    assert both == {"b.png": photos / "b.png", "1.webp": photos / "cats" / "1.webp"}
    assert list_pictures(None) == {}


def test_what_is_missing_is_said(folder: Path) -> None:
    for given, reason in (
        (f"{folder}/nowhere.png", "nowhere.png does not exist: give a picture"),
        (f"{folder}/empty", "is a folder without pictures"),
        ([f"{folder}/photos/b.png", f"{folder}/photos"], "has b.png twice: rename one"),
    ):
        with pytest.raises(UserError, match=reason):
            list_pictures(given)


def test_no_name_is_not_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "photos")
    for given in ("", " ", [], ["b.png", ""], True, [None]):
        with pytest.raises(UserError, match=r"queries.images=.* must be a picture, a folder of pictures, or a list"):
            list_pictures(given)


def test_a_name_that_looks_like_a_number_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which YAML, and the command line, take it for."""
    monkeypatch.chdir(folder)
    (folder / "photos").rename(folder / "2024")
    assert list(list_pictures(2024)) == list(list_pictures([2024])) == ["a.jpg", "b.png", "cats/1.webp"]
    cfg = OmegaConf.create({"queries": {"images": 2024, "seeds": None, "attributed": 20, "controls": 20}})
    adopt_pictures(cfg)
    assert cfg.queries.attributed == 3


def test_a_picture_is_decoded_once_and_a_damaged_one_until_it_is_mended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def decode(path: Path, *given: Any, **settings: Any) -> Image.Image:
        decoded.append(path)
        return open_image(path, *given, **settings)

    monkeypatch.setattr(pictures, "open_image", decode)
    good, damaged = folder / "photos" / "b.png", folder / "photos" / "a.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    for _ in range(2):
        with pytest.raises(UserError, match="a.jpg cannot be read as an image"):
            check_readable([good, damaged])
    assert decoded == [good, damaged, damaged]
    Image.new("RGB", (5, 7)).save(damaged)
    check_readable([good, damaged])


def test_files_that_are_not_read_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("c.heic", "cats/d.HEIC", "e.svg"):
        (folder / "photos" / name).write_text("")
    warn_of_others([str(folder / "photos"), str(folder / "photos" / "b.png")])
    assert "photos: some files are not read (2 .heic, 1 .svg): save them as PNG or JPEG" in caplog.text
    caplog.clear()
    warn_of_others(None)
    warn_of_others(str(folder / "photos" / "b.png"))
    assert not caplog.text


def test_there_are_as_many_queries_as_pictures_or_seeds(folder: Path) -> None:
    def adopt(**queries: Any) -> tuple[int, int]:
        cfg = OmegaConf.create({"queries": {"images": None, "seeds": None, "attributed": 20, "controls": 20} | queries})
        adopt_pictures(cfg)
        return cfg.queries.attributed, cfg.queries.controls

    assert adopt() == (20, 20)
    assert adopt(images=f"{folder}/photos") == (3, 0)
    assert adopt(images=[f"{folder}/photos/a.jpg"]) == (1, 0)
    assert adopt(seeds=[4, 9]) == (2, 0)


def test_a_name_says_what_a_picture_shows() -> None:
    names = ["cat.png", "dog_01.jpg", "cat (3).png", "dog/IMG_2041.jpg", "cat-on-a-sofa.png"]
    shown = tell_conditions(names, config(images="x"), ANIMALS)
    assert shown == [("cat", 0), ("dog", 1), ("cat", 0), ("dog", 1), ("cat", 0)]
    with pytest.raises(UserError, match=r"The name cow.png has none of the conditions that items have \(cat, dog"):
        tell_conditions(["cat.png", "cow.png"], config(images="x"), ANIMALS)


@pytest.mark.parametrize("name", ["7.png", "IMG_2043.jpg", "Screenshot 2023-01-05.png"])
def test_a_camera_or_a_count_is_no_class(name: str) -> None:
    digits = replace(ANIMALS, items=ANIMALS.items.assign(kind=["7", "8", "7", "8"]))
    with pytest.raises(UserError, match=r"says not what the picture shows, .*queries.condition=….*queries.captions=…"):
        tell_conditions([name], config(images="x"), digits)
    with pytest.raises(UserError, match="says not what the picture shows, .*queries.prompt=…"):
        tell_prompts([name], config(images="x"), digits.items)
    assert tell_conditions([name], config(images="x", condition="7"), digits) == [("7", 0)]


@pytest.mark.parametrize("word", ["screen", "signal", "photo", "IMG"])
def test_a_class_of_the_items_is_what_a_picture_shows_whatever_programs_call_theirs(word: str) -> None:
    devices = replace(ANIMALS, items=ANIMALS.items.assign(kind=[word, "dog", word, "dog"]))
    names = [f"{word}_01.png", f"dog/{word}.png", f"{word}/0003.png", f"{word} 2023-01-05.png"]
    assert tell_conditions(names, config(images="x"), devices) == [(word, 0)] * 4
    told = tell_prompts(names[:3], config(images="x"), devices.items)
    assert [row["prompt"] for row in told] == [word] * 3


def test_capital_letters_do_not_matter_where_one_class_alone_is_meant() -> None:
    kinds = ["screen", "Öl", "Dog", "dog"]
    devices = replace(ANIMALS, items=ANIMALS.items.assign(kind=kinds), conditions=np.eye(4, dtype=np.float32)[:, None])
    names = ["Screen_01.png", "SCREEN/0003.png", "öL.png", "Dog_1.png", "dog_1.png", "Screen/dog.png"]
    shown = [("screen", 0), ("screen", 0), ("Öl", 1), ("Dog", 2), ("dog", 3), ("dog", 3)]  # as written goes before
    assert tell_conditions(names, config(images="x"), devices) == shown
    with pytest.raises(UserError, match="The name DOG.png has none of the conditions"):  # which of two is meant?
        tell_conditions(["DOG.png"], config(images="x"), devices)
    told = tell_prompts(["Screen_01.png", "DOG.png", "ÖL.png"], config(images="x"), devices.items)
    assert [row["prompt"] for row in told] == ["screen", "DOG", "Öl"]


def test_conditions_that_no_field_names_cannot_be_told_by_names() -> None:
    pets = replace(ANIMALS, items=ANIMALS.items.assign(kind="pet"))
    for told in (config(images="x"), config(images="x", condition="cat")):
        with pytest.raises(UserError, match="names a condition, but no field of the items tells their"):
            tell_conditions(["cat.png"], told, pets)


def test_what_names_were_read_as_is_said_in_few_lines() -> None:
    def items(**values: list[str]) -> pd.DataFrame:
        return pd.DataFrame({"id": range(len(values["name"]))} | values)

    names = [f"cat_{number}.png" for number in range(9)]
    read = config(images="x")
    shown = items(name=[*names, "dog.png"], shown=[*["cat"] * 9, "dog"])
    assert tell_shown(shown, read) == [
        "cat_0.png, cat_1.png, cat_2.png, cat_3.png, cat_4.png and 4 more: shown as 'cat', by their names",
        "dog.png: shown as 'dog', by its name",
    ]
    assert tell_shown(shown, config(images="x", condition="cat")) == []
    assert tell_shown(items(name=names), read) == []
    texts = items(name=[f"{number}.png" for number in range(100)], prompt=[f"cat {number}" for number in range(100)])
    lines = tell_shown(texts, read)
    assert len(lines) == 11 and lines[0] == "0.png: shown as 'cat 0', by its name"
    assert lines[-1].startswith("90 other pictures likewise")


def test_one_condition_or_a_file_goes_before_names(tmp_path: Path) -> None:
    names = ["cat.png", "x.png"]
    assert tell_conditions(names, config(images="x", condition="dog"), ANIMALS) == [("dog", 1)] * 2
    (tmp_path / "shown.csv").write_text("file,caption\nx.png,cat\ncat.png,dog\n")
    shown = config(images="x", captions=str(tmp_path / "shown.csv"))
    assert tell_conditions(names, shown, ANIMALS) == [("dog", 1), ("cat", 0)]
    with pytest.raises(UserError, match="says nothing of y.png: add it"):
        tell_conditions(["y.png"], shown, ANIMALS)
    with pytest.raises(UserError, match="nowhere.csv does not exist"):
        tell_conditions(names, config(images="x", captions="nowhere.csv"), ANIMALS)


def test_prompts_are_told_likewise() -> None:
    def told(name: str, **changes: Any) -> str:
        ((row),) = tell_prompts([name], config(images="x", **changes), ANIMALS.items)
        assert row["name"] == name
        return row["prompt"]

    assert told("a_cat_in-the rain_0003.png") == "a cat in the rain"
    assert told("x.png", prompt="a dog") == "a dog"
    with pytest.raises(UserError, match="The name 0001.png says not what the picture shows"):
        told("0001.png")
    with pytest.raises(UserError, match="give queries.prompt in place of queries.condition"):
        told("x.png", condition="dog")
