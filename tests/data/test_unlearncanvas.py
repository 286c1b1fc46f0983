"""UnlearnCanvas read from small folders in the published layout, with the prompt files that GUDA publishes."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.preparation import check_counts, prepare
from tdattr.data.prepared import Counts, Prepared, Source, load
from tdattr.data.style_prompts import PromptForm
from tdattr.data.unlearncanvas import UnlearnCanvas, read_prompts
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "unlearncanvas.yaml"
STYLES = ["Artist Sketch", "Cubism", "Ukiyoe"]
OBJECTS = ["Cats", "Sea"]
NUMBERS = [1, 2, 10]
MODES = {("Cubism", "Sea", 2): "L", ("Ukiyoe", "Cats", 10): "CMYK"}
PICTURES = [(style, thing, number) for style in STYLES for thing in OBJECTS for number in NUMBERS]
Photograph = Callable[..., np.ndarray]
IsLike = Callable[[np.ndarray, np.ndarray], bool]


def source(root: Path, **values: Any) -> UnlearnCanvas:
    plain = UnlearnCanvas(
        str(root),
        resolution=8,
        fit="crop",
        styles=None,
        condition="style",
        held_out=0,
        prompts=None,
        eval_prompts=None,
        descriptors=None,
    )
    return replace(plain, **values)


def prepared(wanted: UnlearnCanvas, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "unlearncanvas")
    return load(folder)


def path(root: Path, style: str, thing: str, number: int) -> Path:
    return root / style.replace(" ", "_") / thing / f"{number}.jpg"


@pytest.fixture
def root(tmp_path: Path, photograph: Photograph) -> Path:
    """Three styles, the photographs that they are made from, and things that do not count."""
    folder = tmp_path / "raw"
    for seed, picture in enumerate(PICTURES):
        photograph(path(folder, *picture), seed, size=(16, 16), mode=MODES.get(picture, "RGB"))
    photograph(folder / "Seed_Images" / "Cats" / "1.jpg", 90)
    photograph(folder / "Cubism" / "Cats" / "._1.jpg", 91)
    photograph(folder / "Cubism" / "cover.jpg", 92)
    (folder / "Cubism" / "Cats" / "readme.txt").write_text("no image")
    (folder / ".cache" / "x").mkdir(parents=True)
    return folder


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def train_rows() -> list[dict[str, Any]]:
    return [
        {
            "rel_path": f"UnlearnCanvas/{style}/{thing}/{number}.jpg",
            "prompt": f"A depiction of {thing},\n artistic style featuring\u2028naïve lines {number} ",
            "style": style,
            "object": thing,
        }
        for style, thing, number in PICTURES[::-1]
    ]


def eval_rows() -> list[dict[str, Any]]:
    return [
        {
            "style": style,
            "object": thing,
            "prompt": f"An artwork of {thing}, with lines of {style}",
            "source": "eval",
            "descriptors": ["lines"],
            "descriptor_order": "shuffled",
        }
        for style in STYLES
        for thing in OBJECTS
    ]


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == source(Path("/raw/unlearncanvas"), resolution=64)
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())
    with initialize_config_dir(str(YAML.parents[1]), version_base="1.3"):
        guda = compose("config", ["dataset=unlearncanvas_guda"]).dataset
    assert len(build(guda.source, "dataset.source").styles) == 16 and guda.counts.train == 16 * 20 * 20


@pytest.mark.parametrize("nested", [False, True])
def test_everything_survives(root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike, nested: bool) -> None:
    if nested:
        (tmp_path / "outer").mkdir()
        root = root.rename(tmp_path / "outer" / "UnlearnCanvas").parent
    data = prepared(source(root), tmp_path / "out")
    items = data.train.items
    assert list(zip(items["style"], items.object, strict=True)) == [picture[:2] for picture in PICTURES]
    assert items.prompt.tolist()[0] == "An image of Cats in Artist Sketch style" and "descriptors" not in items
    for seed, (picture, image) in enumerate(zip(PICTURES, data.train.pixels, strict=True)):
        colour = photograph(tmp_path / "again.jpg", seed, size=(16, 16), mode=MODES.get(picture, "RGB"))
        assert is_like(image, colour), picture
    assert data.train.conditions is not None and data.condition_size == 3 and len(data.test) == 0
    assert data.train.conditions[:, 0].argmax(-1).tolist() == [STYLES.index(picture[0]) for picture in PICTURES]


def test_condition_on_the_object_or_nothing(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, condition="object"), tmp_path / "a")
    assert data.train.conditions is not None and data.condition_size == 2
    assert data.train.conditions[:, 0].argmax(-1).tolist() == [OBJECTS.index(picture[1]) for picture in PICTURES]
    assert prepared(source(root, condition="none"), tmp_path / "b").train.conditions is None


def test_some_styles(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, styles=["Ukiyoe", "Artist_Sketch"]), tmp_path / "out")
    assert data.train.items["style"].tolist() == ["Artist Sketch"] * 6 + ["Ukiyoe"] * 6 and data.condition_size == 2
    with pytest.raises(UserError, match=r"styles names Dapple, of .* choose among Artist Sketch, Cubism, Ukiyoe\."):
        source(root, styles=["Cubism", "Dapple"]).fingerprint()
    with pytest.raises(UserError, match="styles names Seed Images"):
        source(root, styles=["Seed_Images"]).fingerprint()


def test_crop_and_squash(root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike) -> None:
    colour = photograph(path(root, *PICTURES[0]), 7, size=(32, 16))
    cropped = next(source(root).examples("train")).read()
    squashed = next(source(root, fit="squash").examples("train")).read()
    assert is_like(cropped, colour) and is_like(squashed[:, 2:6], colour) and squashed.shape == cropped.shape
    assert np.abs(squashed[:, 0].astype(int) - (255 - colour.astype(int))).max() <= 8


def test_prompts_and_descriptors(root: Path, tmp_path: Path) -> None:
    write_lines(root / "train.jsonl", train_rows())
    write_lines(tmp_path / "eval.jsonl", eval_rows())
    words = {style: ["naïve", "flat planes."] if style == "Cubism" else [style] for style in STYLES}
    (root / "words.json").write_text(json.dumps(words), encoding="utf-8")
    wanted = source(
        root,
        prompts="train.jsonl",
        eval_prompts=str(tmp_path / "eval.jsonl"),
        descriptors="words.json",
        held_out=1,
    )
    data = prepared(wanted, tmp_path / "out")
    assert set(wanted.fingerprint()) == {"images", "prompts", "eval_prompts", "descriptors"}
    assert data.train.items.prompt.tolist() == [
        f"A depiction of {thing}, artistic style featuring naïve lines {number}"
        for _, thing, number in PICTURES
        if number != 10
    ]
    tests = [(style, thing) for style in STYLES for thing in OBJECTS]
    assert data.test.items.prompt.tolist() == [
        f"An artwork of {thing}, with lines of {style}" for style, thing in tests
    ]
    assert list(zip(data.test.items["style"], data.test.items.object, strict=True)) == tests
    assert set(data.train.items[data.train.items["style"] == "Cubism"].descriptors) == {"naïve, flat planes."}
    assert (len(data.train), len(data.test)) == (wanted.count("train"), wanted.count("test")) == (12, 6)


def test_prompts_of_windows_say_the_same(tmp_path: Path) -> None:
    """A byte order mark, and two characters at the end of each line."""
    path = tmp_path / "train.jsonl"
    write_lines(path, train_rows())
    expected = read_prompts(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert b"\r\n" in path.read_bytes() and read_prompts(path) == expected


def test_test_items_without_prompts_of_their_own(root: Path, tmp_path: Path) -> None:
    write_lines(root / "train.jsonl", train_rows())
    data = prepared(source(root, prompts="train.jsonl", held_out=1), tmp_path / "out")
    assert data.test.items.prompt.tolist()[0] == "A depiction of Cats, artistic style featuring naïve lines 10"


def test_fingerprint_follows_images_and_files(root: Path, photograph: Photograph) -> None:
    write_lines(root / "train.jsonl", train_rows())
    wanted = source(root, prompts="train.jsonl")
    first = wanted.fingerprint()
    assert first["images"] == source(root, resolution=4).fingerprint()["images"]
    write_lines(root / "train.jsonl", [row | {"prompt": "x"} for row in train_rows()])
    second = wanted.fingerprint()
    assert second["prompts"] != first["prompts"] and second["images"] == first["images"]
    photograph(path(root, *PICTURES[3]), 3, size=(20, 20))
    assert wanted.fingerprint()["images"] != first["images"]


ROWS = train_rows()


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (ROWS[2:], "has no prompt for 2 images, first Ukiyoe/Sea/2: add them, or set dataset.source.prompts=null"),
        ([{"style": "Cubism"}, *ROWS], "line 1, holds no prompt .KeyError: 'object'"),
        ([*ROWS[:3], ROWS[3] | {"rel_path": "Cubism/1.jpg"}], "line 4, holds no prompt"),
        ([*ROWS[:3], ROWS[3] | {"prompt": None}], "line 4, holds no prompt"),
        ([*ROWS, ROWS[0] | {"prompt": "another"}], "line 19, has a second prompt for Ukiyoe/Sea/10"),
    ],
)
def test_wrong_prompts_are_refused_early(root: Path, rows: list[dict[str, Any]], complaint: str) -> None:
    write_lines(root / "train.jsonl", rows)
    with pytest.raises(UserError, match=f"train.jsonl.*{complaint}") as caught:
        source(root, prompts="train.jsonl").fingerprint()
    assert "\n" not in str(caught.value)


def test_wrong_files_are_refused_early(root: Path) -> None:
    for key in ("eval_prompts", "descriptors"):
        with pytest.raises(UserError, match=rf"nowhere\.json is missing: mend dataset\.source\.{key}=<file>"):
            source(root, held_out=1, **{key: "nowhere.json"}).fingerprint()
    (root / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.jsonl, line 1, is not UTF-8"):
        source(root, prompts="bytes.jsonl").fingerprint()
    write_lines(root / "eval.jsonl", eval_rows()[:-1])
    with pytest.raises(UserError, match=r"eval\.jsonl has no prompt for 1 image, first Ukiyoe/Sea/10: add it"):
        source(root, eval_prompts="eval.jsonl", held_out=1).fingerprint()
    for content, complaint in (
        ("[]", "holds no descriptors"),
        ('{"Cubism": ["flat"]}', "no descriptors of Artist Sketch"),
    ):
        (root / "words.json").write_text(content)
        with pytest.raises(UserError, match=rf"words\.json.*{complaint}"):
            source(root, descriptors="words.json").fingerprint()


@pytest.mark.slow
def test_the_published_layout_at_its_size(root: Path, tmp_path: Path) -> None:
    """60 styles x 20 objects x 20 numbers, every picture a link to one file, and what else lies there."""
    folder, picture = tmp_path / "whole" / "UnlearnCanvas", path(root, *PICTURES[0])
    styles, objects = [f"Style {n:02d}" for n in range(60)], [f"Object {n:02d}" for n in range(20)]
    endings = ("jpg", "JPG", "jpeg", "Jpg")
    rows = []
    for style in styles:
        for thing in objects:
            (folder / style / thing).mkdir(parents=True)
            for number in range(1, 21):
                os.link(picture, folder / style / thing / f"{number}.{endings[number % 4]}")
                name = f"UnlearnCanvas/{style}/{thing}/{number}"
                said = {"image_id": name, "rel_path": f"{name}.jpg", "style": style, "object": thing}
                rows.append(said | {"prompt": f"A depiction of {thing}, artistic style featuring {style}, {number}"})
    for extra in ("Seed_Images/Object 00", "Seed Images/Object 01", ".cache/x", "__MACOSX", "notes/empty"):
        (folder / extra).mkdir(parents=True)
    os.link(picture, folder / "Seed_Images/Object 00/1.jpg")
    os.link(picture, folder / "Seed Images/Object 01/2.jpg")
    write_lines(tmp_path / "whole" / "train.jsonl", rows)
    wanted = source(tmp_path / "whole", prompts="train.jsonl")
    assert set(wanted.fingerprint()) == {"images", "prompts"} and wanted.count("train") == 24_000
    check_counts({"train": 24_000, "test": 0}, Counts(24_000, 0), "unlearncanvas")
    examples = list(wanted.examples("train"))
    found = [(part.fields["style"], part.fields["object"], int(part.fields["number"])) for part in examples]
    assert found == [(style, thing, number) for style in styles for thing in objects for number in range(1, 21)]
    assert examples[777].prompts == ("A depiction of {1}, artistic style featuring {0}, {2}".format(*found[777]),)
    (folder / styles[3] / objects[4] / "20.jpg").unlink()  # a number that is missing, though it has a prompt
    assert source(tmp_path / "whole", prompts="train.jsonl").count("train") == 23_999
    with pytest.raises(UserError, match=r"should have 24000 items in train but 23999 were found: complete its files"):
        check_counts({"train": 23_999, "test": 0}, Counts(24_000, 0), "unlearncanvas")


@pytest.mark.parametrize("ending", ["JPG", "jpeg", "JPEG", "Jpg", "png"])
def test_endings_of_all_kinds(ending: str, root: Path, tmp_path: Path) -> None:
    before = prepared(source(root), tmp_path / "before")
    for picture in root.rglob("*.jpg"):
        picture.rename(picture.with_suffix(f".{ending}"))
    write_lines(root / "train.jsonl", train_rows())  # which names them .jpg
    data = prepared(source(root, prompts="train.jsonl"), tmp_path / "out")
    assert np.array_equal(data.train.pixels, before.train.pixels)


def test_numbers_that_are_missing_change_no_other_item(root: Path, tmp_path: Path) -> None:
    write_lines(root / "train.jsonl", train_rows())
    whole = prepared(source(root, prompts="train.jsonl"), tmp_path / "whole")
    gone = [("Cubism", "Cats", 2), ("Ukiyoe", "Sea", 1)]
    for picture in gone:
        path(root, *picture).unlink()
    data = prepared(source(root, prompts="train.jsonl"), tmp_path / "out")
    left = [index for index, picture in enumerate(PICTURES) if picture not in gone]
    assert np.array_equal(data.train.pixels, whole.train.pixels[left])
    for column in ("style", "object", "number", "prompt"):
        assert data.train.items[column].tolist() == whole.train.items[column].iloc[left].tolist()


WORDS = {style: [f"{style} {word}" for word in "abcde"] for style in STYLES}


def test_prompts_are_made_of_descriptors_where_there_is_no_file(root: Path, tmp_path: Path) -> None:
    (root / "words.json").write_text(json.dumps(WORDS))
    words = r"train\.jsonl is missing: .* with dataset\.source\.prompts=from_descriptors, or of its name"
    with pytest.raises(UserError, match=words):
        source(root, prompts="train.jsonl", descriptors="words.json").fingerprint()
    wanted = source(root, prompts="from_descriptors", descriptors="words.json", held_out=1)
    assert set(wanted.fingerprint()) == {"images", "descriptors"}
    data = prepared(wanted, tmp_path / "out")
    drawn = set()
    for split in (data.train, data.test):
        for row in split.items.itertuples():
            parts = PromptForm().parse(row.prompt)
            assert parts.object == row.object and len(set(parts.descriptors)) == 3
            assert set(parts.descriptors) <= set(WORDS[row.style])
            drawn.add((row.style, parts.descriptors))
    assert len(drawn) > len(STYLES) * 2  # each picture has its own
    path(root, *PICTURES[0]).unlink()
    again = prepared(wanted, tmp_path / "again").train.items
    assert again.prompt.tolist() == data.train.items.prompt.tolist()[1:]  # whatever else is there
    with pytest.raises(UserError, match=r"prompts=from_descriptors draws .* with dataset\.source\.descriptors=<file>"):
        source(root, prompts="from_descriptors")


def test_nothing_there(tmp_path: Path, root: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty", root / "Cubism" / "Sea"):
        with pytest.raises(UserError, match=r"holds no images in <Style>/<Object>: .*root=<folder>, or fetch https"):
            source(folder).fingerprint()
    with pytest.raises(UserError, match="'' holds no images"):
        replace(source(root), root="").fingerprint()


def test_numbers_must_be_numbers_and_differ(root: Path, photograph: Photograph) -> None:
    photograph(root / "Cubism" / "Cats" / "01.jpg", 1)
    with pytest.raises(UserError, match=r"Cats/1\.jpg and .*Cats/01\.jpg are the same item: remove one"):
        source(root).fingerprint()
    (root / "Cubism" / "Cats" / "01.jpg").rename(root / "Cubism" / "Cats" / "1 (copy).jpg")
    with pytest.raises(UserError, match=r"1 \(copy\)\.jpg is not named by a number"):
        source(root).fingerprint()
    (root / "Cubism" / "Cats" / "1 (copy).jpg").unlink()
    photograph(root / "Artist Sketch" / "Sea" / "2.jpg", 1)
    with pytest.raises(UserError, match=r"are the same item"):
        source(root).fingerprint()


def test_too_much_held_out(root: Path) -> None:
    path(root, "Ukiyoe", "Sea", 10).unlink()
    assert source(root, held_out=1).count("test") == 6
    with pytest.raises(UserError, match=r"held_out=2 leaves nothing to train on of Sea in Ukiyoe, which has 2 images"):
        source(root, held_out=2).fingerprint()


def test_a_corrupt_image_is_named(root: Path, tmp_path: Path) -> None:
    broken = path(root, "Ukiyoe", "Sea", 2)
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"Ukiyoe/Sea/2\.jpg cannot be read as an image"):
        prepare(source(root), tmp_path, "unlearncanvas")


@pytest.mark.parametrize(
    "values",
    [
        {"fit": "pad"},
        {"condition": "label"},
        {"resolution": 0},
        {"held_out": -1},
        {"eval_prompts": "eval.jsonl"},
        {"styles": []},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=rf"dataset\.source\.{next(iter(values))}\b"):
        configure(source(Path("/raw")), **values)


def test_a_step_of_training(root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    train_one_step(prepared(source(root), tmp_path / "out"))
