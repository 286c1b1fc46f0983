"""A folder of images of every kind: pixels, groups and captions survive, what is wrong is named."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tdattr.configs import build
from tdattr.data.image_folder import ImageFolder, read_image
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "image_folder.yaml"


def pixels(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def put(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)


def source(root: Path, **values: Any) -> ImageFolder:
    plain = ImageFolder(str(root), resolution=8, channels=3, condition="group", held_out=0, captions=None)
    return replace(plain, **values)


def prepared(wanted: ImageFolder, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "image_folder")
    return load(folder)


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
    assert build(config.source, "dataset.source") == source(Path("/raw"), resolution=32, condition="none", held_out=10)
    assert "/raw" not in str(build(config.source, "dataset.source").describe())


def test_everything_survives(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root), tmp_path / "out")
    assert data.train.items.group.tolist() == [".", *["Kätzchen"] * 3, *["dogs"] * 5]
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
    "Kätzchen/deep/c.png": " two\nlines ",
} | {f"dogs/{number}.png": f"dog {number}" for number in range(5)}


@pytest.mark.parametrize("form", ["captions.json", "captions.csv", "excel.csv"])
def test_captions(root: Path, tmp_path: Path, form: str) -> None:
    extra = CAPTIONS | {"gone.png": "not there"}
    if form.endswith("json"):
        text = json.dumps(extra, ensure_ascii=False)
    else:
        rows = [
            "file,caption",
            *(f'{name},"{caption.replace(chr(34), chr(34) * 2)}"' for name, caption in extra.items()),
        ]
        text = "\n".join(rows)
    (root / form).write_text(text, encoding="utf-8-sig" if form == "excel.csv" else "utf-8")
    data = prepared(source(root, captions=form), tmp_path / "out")
    names = ["z.png", *[name for name in CAPTIONS if name.startswith("K")], *[f"dogs/{i}.png" for i in range(5)]]
    assert data.train.items.prompt.tolist() == [CAPTIONS[name] for name in names]
    assert data.train.items.group.tolist()[1] == "Kätzchen"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("c.json", "{", "holds no captions"),
        ("c.json", "[1]", "holds no captions"),
        ("c.json", '{"z.png": 3}', "z.png has no text"),
        ("c.json", '{"z.png": "z"}', "has no caption for 8 images, first Kätzchen/a.png"),
        ("c.csv", "name,text\nz.png,z", "KeyError: 'file'"),
        ("c.csv", "file,caption\nz.png,a z, alone", "z.png has no text, or one with an unquoted comma"),
        ("c.csv", "file,caption\nz.png", "z.png has no text"),
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
    "change", [{"condition": "x"}, {"channels": 4}, {"resolution": 0}, {"held_out": 1}, {"held_out": -1}]
)
def test_wrong_values_are_refused(tmp_path: Path, change: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"dataset.source.{next(iter(change))}="):
        configure(source(tmp_path), **change)
