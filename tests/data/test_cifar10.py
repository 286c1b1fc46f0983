"""CIFAR-10 read from small batches in the published format."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build, described
from tdattr.data.cifar10 import FOLDER, Cifar10
from tdattr.data.prepared import load, prepare
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "cifar10.yaml"
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
SIZE = 4  # images per batch


def batch(number: int) -> dict[bytes, Any]:
    random = np.random.default_rng(number)
    return {
        b"batch_label": b"batch",
        b"labels": [int(label) for label in random.integers(0, 10, SIZE)],
        b"data": random.integers(0, 256, (SIZE, 3072), np.uint8),
        b"filenames": [b"a.png"] * SIZE,
    }


def dump(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, 2))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / FOLDER
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        dump(folder / name, batch(number))
    meta = {b"num_cases_per_batch": SIZE, b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    dump(folder / "batches.meta", meta)
    return folder.parent


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == Cifar10(root="/raw/cifar10", condition="none")
    assert "/raw" not in str(described(config.dataset.source))


@pytest.mark.parametrize("inside", [False, True])
def test_everything_survives(root: Path, tmp_path: Path, inside: bool) -> None:
    (tmp_path / "out").mkdir()
    prepare(Cifar10(str(root / FOLDER if inside else root), "label"), tmp_path / "out", "cifar10")
    data = load(tmp_path / "out")
    for split, numbers in ((data.train, range(5)), (data.test, range(5, 6))):
        flat = np.concatenate([batch(number)[b"data"] for number in numbers])
        labels = [label for number in numbers for label in batch(number)[b"labels"]]
        assert split.pixels.shape == (SIZE * len(numbers), 32, 32, 3)
        assert np.array_equal(split.pixels[:, 3, 5, 0], flat[:, 3 * 32 + 5])  # red, row 3, column 5
        assert np.array_equal(split.pixels[:, 31, 0, 2], flat[:, 2048 + 31 * 32])  # blue
        assert np.array_equal(split.pixels.transpose(0, 3, 1, 2).reshape(-1, 3072), flat)
        assert split.items.label.tolist() == [NAMES[label] for label in labels]
        assert split.conditions is not None and split.conditions[:, 0].argmax(-1).tolist() == labels
        assert split.items.id.tolist() == list(range(len(labels)))


def test_unconditional(root: Path) -> None:
    assert next(Cifar10(str(root), "none").examples("test")).condition is None


def test_fingerprint_follows_the_files(root: Path) -> None:
    source = Cifar10(str(root), "none")
    first = source.fingerprint()
    assert set(first) == {*BATCHES, "batches.meta"} and replace(source, condition="label").fingerprint() == first
    dump(root / FOLDER / "test_batch", batch(9))
    assert source.fingerprint() != first


def test_missing_files_name_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset\.source\.root=<folder>.*CIFAR10\('.*nowhere', download=True\)"
    ) as caught:
        Cifar10(str(tmp_path / "nowhere"), "none").fingerprint()
    assert "\n" not in str(caught.value)
    (root / FOLDER / "data_batch_4").unlink()
    with pytest.raises(UserError, match=r"\(data_batch_4 missing\)"):
        Cifar10(str(root), "none").fingerprint()


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_a_malicious_batch_does_not_execute(root: Path, tmp_path: Path) -> None:
    dump(root / FOLDER / "data_batch_2", batch(1) | {b"extra": Harmful(tmp_path / "executed")})
    with pytest.raises(UserError, match="data_batch_2.*it asks for"):
        Cifar10(str(root), "none").count("train")
    assert not (tmp_path / "executed").exists()


def test_a_truncated_batch_is_found_before_anything_is_prepared(root: Path, tmp_path: Path) -> None:
    path = root / FOLDER / "test_batch"
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="test_batch is damaged"):
        prepare(Cifar10(str(root), "none"), tmp_path / "out", "cifar10")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("data_batch_1", {b"data": np.zeros((SIZE, 3071), np.uint8)}, "no images of 3 x 32 x 32"),
        ("data_batch_1", {b"data": [1, 2]}, "no images of 3 x 32 x 32"),
        ("data_batch_1", {b"labels": [0] * (SIZE - 1)}, "one label of 0..9 per image"),
        ("data_batch_1", {b"labels": [0] * (SIZE - 1) + [10]}, "one label of 0..9 per image"),
        ("data_batch_1", {b"labels": [[]] * SIZE}, "one label of 0..9 per image"),
        ("batches.meta", {b"label_names": [b"cat"]}, "ten class names"),
    ],
)
def test_wrong_content_is_refused(root: Path, name: str, change: dict[bytes, Any], complaint: str) -> None:
    dump(root / FOLDER / name, batch(0) | change)
    with pytest.raises(UserError, match=f"{name}.*{complaint}"):
        Cifar10(str(root), "none").count("test")


def test_wrong_condition_is_refused() -> None:
    with pytest.raises(UserError, match="dataset.source.condition=style"):
        Cifar10("/raw", "style")
