"""CelebA read from small folders in the published layout: the crop, the draw, the attributes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.celeba import CelebA
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, load
from tdattr.data.subset import ItemsConfig, draw_items
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "celeba.yaml"
ATTRIBUTES = ["5_o_Clock_Shadow", "Male", "Young"]
PARTS = [0] * 8 + [1] * 4 + [2] * 2
NAMES = [f"{number:06d}.jpg" for number in range(1, 15)]
MODES = {2: "L", 8: "CMYK"}
Photograph = Callable[..., np.ndarray]
IsLike = Callable[[np.ndarray, np.ndarray], bool]
EVERYTHING = ItemsConfig(None, None)


def source(root: Path, **values: Any) -> CelebA:
    plain = CelebA(str(root), crop=14, resolution=8, condition="none", items=EVERYTHING, subset_seed=42)
    return replace(plain, **values)


def prepared(wanted: CelebA, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "celeba")
    return load(folder)


def values(number: int) -> list[int]:
    return [1 if (number >> place) % 2 else -1 for place in range(3)]


def picture(photograph: Photograph, path: Path, number: int) -> np.ndarray:
    """A face of 18 x 22 pixels whose central 14 x 14 are of one colour."""
    return photograph(path, number, size=(18, 22), side=14, mode=MODES.get(number, "RGB"))


@pytest.fixture
def root(tmp_path: Path, photograph: Photograph) -> Path:
    folder = tmp_path / "raw" / "celeba"
    for number, name in enumerate(NAMES):
        picture(photograph, folder / "img_align_celeba" / name, number)
    rows = [f"{name} " + " ".join(f"{value:2d}" for value in values(number)) for number, name in enumerate(NAMES)]
    lines = [str(len(NAMES)), " ".join(ATTRIBUTES) + " ", *rows, ""]
    (folder / "list_attr_celeba.txt").write_text("\r\n".join(lines))
    pairs = [f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(pairs))
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} {100 + len(name)}\n" for name in NAMES))
    (folder / "img_align_celeba" / ".DS_Store").write_bytes(b"")
    return folder.parent


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    expected = source(Path("/raw/celeba"), crop=140, resolution=64, items=ItemsConfig(5000, 1000))
    assert build(config.dataset.source, "dataset.source") == expected
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())
    assert config.dataset.counts == {"train": 5000, "test": 1000}


@pytest.mark.parametrize("inside", ["", "celeba"])
def test_everything_survives(root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike, inside: str) -> None:
    data = prepared(source(root / inside), tmp_path / "out")
    assert (len(data.train), len(data.test), data.train.conditions) == (8, 4, None)
    numbers = [*range(8), *range(8, 12)]
    for number, image in zip(numbers, [*data.train.pixels, *data.test.pixels], strict=True):
        assert is_like(image, picture(photograph, tmp_path / "again.jpg", number)), number
    words = {1: "yes", -1: "no"}
    for place, name in enumerate(ATTRIBUTES):
        assert data.train.items[name].tolist() == [words[values(number)[place]] for number in range(8)]
    assert data.test.items.identity.tolist() == ["110"] * 4


def test_the_largest_square(root: Path, is_like: IsLike, photograph: Photograph, tmp_path: Path) -> None:
    image = next(source(root, crop=None).examples("train")).read()
    colour = picture(photograph, tmp_path / "again.jpg", 0)
    assert is_like(image[2:6, 2:6], colour) and np.abs(image[0, 0].astype(int) - colour).max() > 20


def test_condition_on_an_attribute(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, condition="Male"), tmp_path / "out")
    assert data.train.conditions is not None and data.condition_size == 2
    assert data.train.conditions[:, 0].argmax(-1).tolist() == [(number >> 1) % 2 for number in range(8)]
    with pytest.raises(UserError, match="condition=Female is unknown: choose none or one of 5_o_Clock_Shadow, Male"):
        source(root, condition="Female").fingerprint()


def test_without_identities(root: Path, tmp_path: Path) -> None:
    (root / "celeba" / "identity_CelebA.txt").unlink()
    assert "identity" not in prepared(source(root), tmp_path / "out").train.items


def test_drawn_items(root: Path, tmp_path: Path) -> None:
    wanted = source(root, items=ItemsConfig(5, 2))
    assert (wanted.count("train"), wanted.count("test")) == (5, 2)
    assert wanted.select("train") == [NAMES[place] for place in draw_items(8, 5, 42)]
    assert wanted.select("test") == [NAMES[8 + place] for place in draw_items(4, 2, 42)]
    assert wanted.select("train") != replace(wanted, subset_seed=2).select("train")
    data = prepared(wanted, tmp_path / "out")
    assert data.train.items.Male.tolist() == ["yes" if place // 2 % 2 else "no" for place in draw_items(8, 5, 42)]
    with pytest.raises(UserError, match=r"dataset\.source\.items\.test=5 asks for more than the 4"):
        source(root, items=ItemsConfig(5, 5)).fingerprint()


def test_only_drawn_faces_need_be_there(root: Path) -> None:
    wanted = source(root, items=ItemsConfig(5, 2))
    spare = set(NAMES) - set(wanted.select("train")) - set(wanted.select("test"))
    for name in spare:
        (root / "celeba" / "img_align_celeba" / name).unlink()
    wanted.fingerprint()
    with pytest.raises(UserError, match=rf"{min(spare)} is missing \(5 images in all\): .*img_align_celeba\.zip"):
        source(root).fingerprint()


def test_fingerprint_follows_faces_and_lists(root: Path, photograph: Photograph) -> None:
    first = source(root).fingerprint()
    assert source(root, resolution=4, crop=None).fingerprint() == first
    photograph(root / "celeba" / "img_align_celeba" / NAMES[0], 0, size=(30, 30))
    second = source(root).fingerprint()
    assert {name for name in first if first[name] != second[name]} == {"images"}
    (root / "celeba" / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in NAMES))
    assert source(root).fingerprint()["identity_CelebA.txt"] != first["identity_CelebA.txt"]


def test_missing_parts_name_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"list_attr_celeba\.txt, .*img_align_celeba missing.*root=<folder>.*CelebA\('.*nowhere', down"
    ) as caught:
        source(tmp_path / "nowhere").fingerprint()
    assert "\n" not in str(caught.value)
    (root / "celeba" / "list_eval_partition.txt").unlink()
    with pytest.raises(UserError, match=r"\(list_eval_partition\.txt missing\)"):
        source(root).fingerprint()


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("list_attr_celeba.txt", "000005.jpg", "000004.jpg", "line 7, has '000004.jpg' twice"),
        ("list_attr_celeba.txt", "14\n", "15\n", "should begin with the number of its faces, 14"),
        ("list_attr_celeba.txt", "000003.jpg -1  1 -1", "000003.jpg -1  1", "no 3 values of 1 or -1 for 000003.jpg"),
        ("list_attr_celeba.txt", "000003.jpg -1", "000003.jpg  0", "no 3 values of 1 or -1 for 000003.jpg"),
        ("list_eval_partition.txt", "000005.jpg 0\n", "000005.jpg\n", "line 5, has '000005.jpg' twice or without"),
        ("list_eval_partition.txt", "000005.jpg 0\n", "", "does not list 000005.jpg"),
        ("identity_CelebA.txt", "000005.jpg 110\n", "", "does not list 000005.jpg"),
    ],
)
def test_damaged_lists_are_refused(root: Path, file: str, old: str, new: str, complaint: str) -> None:
    path = root / "celeba" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(UserError, match=f"{file}.*{complaint}.*fetch") as caught:
        source(root).fingerprint()
    assert "\n" not in str(caught.value)


def test_unreadable_lists_are_refused(root: Path) -> None:
    (root / "celeba" / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"list_attr_celeba\.txt, line 1, is not UTF-8 text: fetch it again"):
        source(root).fingerprint()


def test_a_corrupt_image_is_named(root: Path, tmp_path: Path) -> None:
    path = root / "celeba" / "img_align_celeba" / NAMES[10]
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=r"000011\.jpg cannot be read as an image"):
        prepare(source(root), tmp_path, "celeba")


def test_a_step_of_training(root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    train_one_step(prepared(source(root), tmp_path / "out"))
