"""A folder of images of every kind: pixels, groups and captions survive, what is wrong is named."""

import json
import logging
import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tdattr.configs import build
from tdattr.data.groups import find_groups, select_removed
from tdattr.data.image_folder import read_image
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Source
from tdattr.errors import UserError
from tests.data.folders import pixels, prepared, put, source

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "image_folder.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five dogs, three cats (one of them deeper), one image without a group, and things that do not count."""
    folder = tmp_path / "raw"
    for number in range(5):
        put(folder / "dogs" / f"{number}.png", number)
    for number, name in enumerate(["a.png", "b.BMP", "deep/c.png"]):
        put(folder / "Kätzchen" / name, 10 + number)
    put(folder / "z.png", 20)
    put(folder / ".hidden" / "x.png", 30)
    put(folder / "dogs" / ".cache" / "x.png", 31)
    put(folder / "dogs" / "._0.png", 32)
    (folder / "dogs" / "notes.txt").write_text("no image")
    return folder


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.load(YAML)
    with pytest.raises(UserError, match="dataset.source.root"):
        build(config.source, "dataset.source")
    config.source.root = "/raw"
    expected = source(
        Path("/raw"), resolution=32, condition="none", held_out=10, metadata="auto", caption_column="auto"
    )
    assert build(config.source, "dataset.source") == expected
    assert "/raw" not in str(build(config.source, "dataset.source").describe())


def test_everything_survives(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root), tmp_path / "out")
    assert data.train.items.group.tolist() == ["(no folder)", *["Kätzchen"] * 3, *["dogs"] * 5]
    for image, seed in zip(data.train.pixels, [20, 10, 11, 12, 0, 1, 2, 3, 4], strict=True):
        assert np.array_equal(image, pixels(seed))
    assert data.train.conditions is not None
    assert data.train.conditions[:, 0].argmax(-1).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert data.condition_size == 3 and len(data.test) == 0


def test_held_out(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, held_out=2, condition="none"), tmp_path / "out")
    assert data.test.items.group.tolist() == ["Kätzchen", "dogs", "dogs"] and data.train.conditions is None
    for image, seed in zip(data.test.pixels, [11, 1, 3], strict=True):
        assert np.array_equal(image, pixels(seed))
    assert len(data.train) == 6 and "prompt" not in data.train.items


CAPTIONS = {
    "z.png": 'a "z", alone',
    "Kätzchen/a.png": "ein Kätzchen – 子猫 🐈",
    "Kätzchen/b.BMP": "NA",
    "Kätzchen/deep/c.png": " two\nlines,\u2028three ",
} | {f"dogs/{number}.png": f"dog {number}" for number in range(5)}


@pytest.mark.parametrize("form", ["captions.json", "captions.csv", "excel.csv", "apart.json", "apart.csv"])
def test_captions(root: Path, tmp_path: Path, form: str) -> None:
    extra = CAPTIONS | {"gone.png": "not there"}
    if form.endswith("json"):
        text = json.dumps(extra, ensure_ascii=False)
    else:
        rows = [
            "file,caption",
            *(f'{name},"{caption.replace(chr(34), chr(34) * 2)}"' for name, caption in extra.items()),
        ]
        text = ("\r\n" if form == "excel.csv" else "\n").join(rows)
    if form.startswith("apart"):  # letters and accents apart, as some systems name files
        text = text.replace("Kätzchen/", unicodedata.normalize("NFD", "Kätzchen/"))
    (root / form).write_bytes(text.encode("utf-8-sig" if form == "excel.csv" else "utf-8"))
    data = prepared(source(root, captions=form), tmp_path / "out")
    names = ["z.png", *[name for name in CAPTIONS if name.startswith("K")], *[f"dogs/{i}.png" for i in range(5)]]
    assert data.train.items.prompt.tolist() == [CAPTIONS[name] for name in names]
    assert data.train.items.group.tolist()[1] == "Kätzchen"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("c.json", '{"a": "b",', "line 1, is not JSON"),
        ("c.json", "[1]", "holds no JSON object"),
        ("c.json", '{"z.png": 3}', "has no text for z.png"),
        ("c.json", '{"z.png": "z", "z.png": "y"}', "has 'z.png' twice"),
        ("c.json", '{"K\u00e4.png": "z", "Ka\u0308.png": "y"}', "has a second caption for Ka"),
        ("c.json", '{"z.png": "z"}', "has no caption for 8 images, first Kätzchen/a.png"),
        ("c.csv", "name,text\nz.png,z", "no column file, its first line holds name, text"),
        ("c.csv", "file,caption\nz.png,a z, alone", "line 2, has 3 cells instead of 2: .*quote captions with commas"),
        ("c.csv", "file,caption\nz.png", "line 2, has 1 cells instead of 2"),
        ("c.csv", 'file,caption\nz.png,"two\nlines"\nz.png,z', "line 4, has a second caption for z.png"),
    ],
)
def test_wrong_captions_are_refused(root: Path, tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        prepare(source(root, captions=name), tmp_path, "image_folder")
    assert str(root / name) in str(caught.value)


def test_missing_captions_are_refused_early(root: Path) -> None:
    with pytest.raises(UserError, match="dataset.source.captions="):
        source(root, captions="nowhere.json").fingerprint()


def test_items_have_the_names_of_their_files(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, held_out=2), tmp_path / "out")
    assert data.train.items["name"].tolist() == [
        "z.png", "Kätzchen/a.png", "Kätzchen/deep/c.png", "dogs/0.png", "dogs/2.png", "dogs/4.png",
    ]  # fmt: skip
    assert data.test.items["name"].tolist() == ["Kätzchen/b.BMP", "dogs/1.png", "dogs/3.png"]
    assert select_removed(data, "group", [], ["dogs/2.png", 0, "Ka\u0308tzchen/a.png"]).tolist() == [0, 1, 4]
    with pytest.raises(UserError, match="remove.ids has 'dogs/1.png', which is no training item"):
        select_removed(data, "group", [], ["dogs/1.png"])


def test_names_that_tables_cannot_hold(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 and control characters stand as escapes, letters and accents as one."""
    raw = tmp_path / "raw"
    apart = unicodedata.normalize("NFD", "Größe")
    for name in (b"caf\xe9.png", b"two\nlines.png", "\u2028, 猫.png".encode()):
        put(raw / apart / os.fsdecode(name), len(name))
    captions = {"Größe/caf\\xe9.png": "a", "Größe/two\\x0alines.png": "b", "Größe/\u2028, 猫.png": "c"}
    (raw / "c.json").write_text(json.dumps(captions))
    data = prepared(source(raw, captions="c.json"), tmp_path / "out")
    assert dict(zip(data.train.items["name"], data.train.items["prompt"], strict=True)) == captions
    assert set(data.train.items["group"]) == {"Größe"} == set(find_groups(data, "group"))
    put(raw / "Größe" / "1.png", 1)
    with pytest.raises(UserError, match="Größe is there twice, with letters that are encoded in two ways"):
        source(raw).fingerprint()


def test_links_are_followed_once_and_never_in_circles(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "deep" / "far.png", 40)
    put(tmp_path / "more" / "top.png", 41)
    (root / "dogs" / "b link").symlink_to(tmp_path / "elsewhere")
    (root / "dogs" / "a link").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "dogs" / "self").symlink_to(root / "dogs")
    (root / "dogs" / "up").symlink_to(root.parent)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (root / "more").symlink_to(tmp_path / "more")
    (root / "dogs" / "gone.png").symlink_to(root / "nowhere.png")
    names = [found.name for found, group in source(root).members() if group in ("dogs", "more")]
    assert names == ["dogs/0.png", "dogs/1.png", "dogs/2.png", "dogs/3.png", "dogs/4.png", "dogs/a link/far.png",
                     "more/top.png"]  # fmt: skip


def test_what_looks_like_an_image_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(pixels(7)).save(root / "dogs" / "7.jfif", "JPEG", quality=100, subsampling=0)
    assert "dogs/7.jfif" in [found.name for found, _ in source(root).members()]
    with caplog.at_level(logging.WARNING):
        source(root).fingerprint()
        assert not caplog.messages
        for name in ("a.HEIC", "b.heic", "c.jxl", ".d.heic"):
            (root / "dogs" / name).write_bytes(b"")
        (root / "e.heic").write_bytes(b"")
        (root / "f.png").symlink_to(root / "nowhere.png")
        source(root).fingerprint()
    (said,) = caplog.messages
    assert "some files are not read (3 .heic, 1 .jxl, 1 broken link): save them as PNG or JPEG" in said


def test_one_file_in_two_groups_is_refused(root: Path) -> None:
    """Removing one of the groups would leave the picture in."""
    (root / "dogs" / "same").symlink_to(root / "Kätzchen")
    with pytest.raises(UserError, match=r"are one file: remove one of them\.$"):
        source(root).count("train")


def test_unreadable_images_are_left_out(root: Path, tmp_path: Path) -> None:
    for number in (1, 3):
        (root / "dogs" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^2 images .*dataset\.source\.unreadable=skip \(.*unreadable\.csv lists them"):
        prepare(source(root), tmp_path, "image_folder")
    data = prepared(source(root, unreadable="skip"), tmp_path / "out")
    assert data.train.items["name"].tolist()[-3:] == ["dogs/0.png", "dogs/2.png", "dogs/4.png"]
    assert np.array_equal(data.train.pixels[-1], pixels(4)) and data.facts["unreadable"] == 2


@pytest.mark.parametrize("path", ["~/raw", "$PICTURES", "${PICTURES}"])
def test_paths_are_expanded(root: Path, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PICTURES", str(root))
    (root / "c.json").write_text("{}")
    assert source(Path(path), captions=f"{path}/c.json").fingerprint().keys() == {"images", "captions"}


def solid(mode: str, colour: Any, expected: Any, path: Path, **options: Any) -> None:
    Image.new(mode, (8, 8), colour).save(path, **options)
    found = read_image(path, 8, 3)
    assert found.shape == (8, 8, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 2, (mode, found[0, 0])


def test_colour_modes(tmp_path: Path) -> None:
    solid("CMYK", (0, 255, 255, 0), (255, 0, 0), tmp_path / "cmyk.tif")
    solid("CMYK", (255, 0, 0, 0), (0, 255, 255), tmp_path / "cmyk.jpg", quality=100)
    solid("L", 77, (77, 77, 77), tmp_path / "gray.png")
    solid("1", 1, (255, 255, 255), tmp_path / "bits.png")
    solid("LA", (10, 0), (255, 255, 255), tmp_path / "gray_transparent.png")
    solid("RGBA", (255, 0, 0, 0), (255, 255, 255), tmp_path / "transparent.png")
    solid("RGBA", (255, 0, 0, 255), (255, 0, 0), tmp_path / "opaque.webp", lossless=True)
    solid("I;16", 257 * 200, (200, 200, 200), tmp_path / "deep.png")
    Image.fromarray(pixels(0) // 128 * 255).quantize(8).save(tmp_path / "palette.gif")
    assert np.array_equal(read_image(tmp_path / "palette.gif", 8, 3), pixels(0) // 128 * 255)


def test_gray_output(tmp_path: Path) -> None:
    gray = pixels(0)[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(read_image(tmp_path / "gray.png", 8, 1), gray[..., None])
    Image.new("RGB", (4, 4), "white").save(tmp_path / "white.png")
    assert (read_image(tmp_path / "white.png", 8, 1) == 255).all()


def test_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    Image.fromarray(pixels(0)).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png", 8, 3), np.rot90(pixels(0), -1))


def test_central_square_and_size(tmp_path: Path) -> None:
    wide = np.concatenate([np.zeros((8, 3, 3), np.uint8), pixels(0), np.zeros((8, 2, 3), np.uint8)], axis=1)
    Image.fromarray(wide[:, 1:]).save(tmp_path / "wide.png")
    Image.fromarray(wide[:, 1:].transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert np.array_equal(read_image(tmp_path / "wide.png", 8, 3), pixels(0))
    assert np.array_equal(read_image(tmp_path / "tall.png", 8, 3), pixels(0).transpose(1, 0, 2))
    for resolution in (4, 28):
        assert read_image(tmp_path / "wide.png", resolution, 3).shape == (resolution, resolution, 3)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_corrupt_image_is_named(root: Path, tmp_path: Path, damage: str) -> None:
    path = root / "dogs" / "3.png"
    path.write_bytes({"truncated": path.read_bytes()[:-60], "text": b"<html>404</html>", "empty": b""}[damage])
    with pytest.raises(UserError, match=r"dogs/3\.png cannot be read as an image"):
        prepare(source(root), tmp_path, "image_folder")


def test_an_empty_group_is_named(root: Path) -> None:
    (root / "birds").mkdir()
    (root / "birds" / "list.txt").write_text("")
    with pytest.raises(UserError, match="group birds has no images"):
        source(root).fingerprint()


def test_no_images_at_all(tmp_path: Path) -> None:
    for wanted in (source(tmp_path / "nowhere"), source(tmp_path), replace(source(tmp_path), root="")):
        with pytest.raises(UserError, match="dataset.source.root=<folder>"):
            wanted.fingerprint()


def test_fingerprint_follows_names_sizes_times_and_captions(root: Path) -> None:
    marks = [source(root).fingerprint()["images"]]
    assert source(root, resolution=4).fingerprint()["images"] == marks[0]
    os.utime(root / "z.png", ns=(1, 1))
    marks.append(source(root).fingerprint()["images"])
    (root / "z.png").rename(root / "y.png")
    marks.append(source(root).fingerprint()["images"])
    (root / "y.png").write_bytes(b"another size")
    os.utime(root / "y.png", ns=(1, 1))
    marks.append(source(root).fingerprint()["images"])
    assert len(set(marks)) == 4
    (root / "c.json").write_text("{}")
    first = source(root, captions="c.json").fingerprint()
    (root / "c.json").write_text('{"a": "b"}')
    assert first["captions"] != source(root, captions="c.json").fingerprint()["captions"]


@pytest.mark.parametrize(
    "change",
    [
        {"condition": "x"},
        {"channels": 4},
        {"resolution": 0},
        {"held_out": 1},
        {"held_out": -1},
        {"max_pixels": 0},
        {"max_pixels": 10**9},
        {"unreadable": "drop"},
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, change: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"dataset.source.{next(iter(change))}="):
        configure(source(tmp_path), **change)
