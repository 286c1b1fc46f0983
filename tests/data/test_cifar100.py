"""CIFAR-100 read from small files in the published format."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.cifar100 import FOLDER, Cifar100
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Counts, Prepared, Source, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "cifar100.yaml"
SIZES = {"train": 30, "test": 7}
FINE = [f"class {number}" for number in range(100)]
COARSE = [f"superclass {number}" for number in range(20)]


def content(split: str) -> dict[bytes, Any]:
    random = np.random.default_rng(len(split))
    fine = [int(label) for label in random.integers(0, 100, SIZES[split])]
    return {
        b"filenames": [b"a.png"] * SIZES[split],
        b"batch_label": b"batch",
        b"fine_labels": fine,
        b"coarse_labels": [label % 20 for label in fine],
        b"data": random.integers(0, 256, (SIZES[split], 3072), np.uint8),
    }


def dump(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, 2))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / FOLDER
    folder.mkdir(parents=True)
    for split in SIZES:
        dump(folder / split, content(split))
    names = {
        b"fine_label_names": [name.encode() for name in FINE],
        b"coarse_label_names": [name.encode() for name in COARSE],
    }
    dump(folder / "meta", names)
    return folder.parent


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == Cifar100(root="/raw/cifar100", condition="none")
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())


@pytest.mark.parametrize(("condition", "inside"), [("none", True), ("fine", False), ("coarse", False)])
def test_everything_survives(root: Path, tmp_path: Path, condition: str, inside: bool) -> None:
    (tmp_path / "out").mkdir()
    prepare(
        Cifar100(str(root / FOLDER if inside else root), condition),
        tmp_path / "out",
        "cifar100",
        counts=Counts(**SIZES),
    )
    data = load(tmp_path / "out")
    assert data.condition_size == {"none": 0, "fine": 100, "coarse": 20}[condition]
    for name, split in (("train", data.train), ("test", data.test)):
        expected = content(name)
        assert np.array_equal(split.pixels.transpose(0, 3, 1, 2).reshape(-1, 3072), expected[b"data"])
        assert split.items.label.tolist() == [FINE[label] for label in expected[b"fine_labels"]]
        assert split.items.superclass.tolist() == [COARSE[label] for label in expected[b"coarse_labels"]]
        if split.conditions is not None:
            assert split.conditions[:, 0].argmax(-1).tolist() == expected[f"{condition}_labels".encode()]


def test_fingerprint_follows_the_files(root: Path) -> None:
    source = Cifar100(str(root), "none")
    first = source.fingerprint()
    assert set(first) == {"train", "test", "meta"} and replace(source, condition="fine").fingerprint() == first
    dump(root / FOLDER / "test", content("train"))
    assert source.fingerprint() != first


def test_missing_files_name_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train, test, meta missing.*root=<folder>.*CIFAR100\('.*nowhere', download"):
        Cifar100(str(tmp_path / "nowhere"), "none").fingerprint()
    (root / FOLDER / "test").unlink()
    with pytest.raises(UserError, match=r"CIFAR-100 is not in .* \(test missing\)"):
        Cifar100(str(root), "none").fingerprint()


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("train", {b"data": np.zeros((30, 3071), np.uint8)}, "no images of 3 x 32 x 32"),
        ("test", {b"fine_labels": [100] * 7}, "one label of 0..99 per image under fine_labels"),
        ("test", {b"coarse_labels": [20] * 7}, "one label of 0..19 per image under coarse_labels"),
        ("meta", {b"coarse_label_names": [b"fish"]}, "20 class names under coarse_label_names"),
    ],
)
def test_wrong_content_is_refused(root: Path, name: str, change: dict[bytes, Any], complaint: str) -> None:
    whole = {} if name == "meta" else content(name)
    names = {b"fine_label_names": FINE, b"coarse_label_names": COARSE}
    dump(root / FOLDER / name, (names if name == "meta" else whole) | change)
    with pytest.raises(UserError, match=f"{name}.*{complaint}"):
        Cifar100(str(root), "none").count("test")


def test_wrong_condition_is_refused(configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match="dataset.source.condition=label is unknown: choose none, fine or coarse"):
        configure(Cifar100("/raw", "none"), condition="label")


def test_a_step_of_training(root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    (tmp_path / "out").mkdir()
    prepare(Cifar100(str(root), "coarse"), tmp_path / "out", "cifar100")
    train_one_step(load(tmp_path / "out"))
