"""Fashion-MNIST read from small files in the published format."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data import fashion_mnist
from tdattr.data.fashion_mnist import LABELS, FashionMnist
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Source, load
from tdattr.data.subset import ItemsConfig
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "fashion_mnist.yaml"
COUNTS = {"train": 12, "t10k": 5}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def content() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    files = {}
    for split, count in COUNTS.items():
        files[f"{split}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        files[f"{split}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    return files


def write(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, array in content().items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def source(root: Path | None, **values: Any) -> FashionMnist:
    every = ItemsConfig(train=None, test=None)
    plain = FashionMnist(None if root is None else str(root), None, 28, "label", every, subset_seed=42)
    return replace(plain, **values)


@pytest.fixture(autouse=True)
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", str(tmp_path / "debian"))


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == source(None, default_root="/raw/fashion_mnist")
    config.dataset.source.root = "/elsewhere"
    assert build(config.dataset.source, "dataset.source").root == "/elsewhere"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("resolution", [28, 32])
def test_everything_survives(tmp_path: Path, packed: bool, resolution: int) -> None:
    write(tmp_path / "raw", packed)
    (tmp_path / "out").mkdir()
    prepare(source(tmp_path / "raw", resolution=resolution), tmp_path / "out", "fashion_mnist")
    data = load(tmp_path / "out")
    for split, name in ((data.train, "train"), (data.test, "t10k")):
        border = (resolution - 28) // 2
        images = np.pad(content()[f"{name}-images-idx3-ubyte"], ((0, 0), (border, border), (border, border)))
        labels = content()[f"{name}-labels-idx1-ubyte"]
        assert np.array_equal(split.pixels, images[..., None]) and split.pixels.shape[1:] == (resolution, resolution, 1)
        assert split.conditions is not None and np.array_equal(
            split.conditions[:, 0], np.eye(10, dtype=np.float32)[labels]
        )
        assert split.items.label.tolist() == [LABELS[label] for label in labels]
        assert split.items.id.tolist() == list(range(COUNTS[name]))


def test_unconditional(tmp_path: Path) -> None:
    assert next(source(write(tmp_path / "raw"), condition="none").examples("train")).condition is None


def test_a_part_is_drawn_of_every_class(tmp_path: Path) -> None:
    labels, images = np.repeat(np.arange(10, dtype=np.uint8), 6), np.arange(60, dtype=np.uint8)
    folder = write(tmp_path / "raw", packed=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.broadcast_to(images[:, None, None], (60, 28, 28))))
    part = source(folder, items=ItemsConfig(train=20, test=None))
    drawn = [int(example.image[0, 0, 0]) for example in part.examples("train")]
    assert part.count("train") == 20 and part.count("test") == COUNTS["t10k"]
    assert drawn == sorted(drawn) and np.bincount(labels[drawn]).tolist() == [2] * 10
    assert drawn != [int(e.image[0, 0, 0]) for e in replace(part, subset_seed=1).examples("train")]
    with pytest.raises(UserError, match="dataset.source.items.train=61 asks for more than the 60 items"):
        replace(part, items=ItemsConfig(train=61, test=None)).count("train")


def test_all_items_are_at_the_address_that_they_had() -> None:
    described = source(None).describe()
    assert not {"items", "subset_seed"} & described.keys()
    assert {"items", "subset_seed"} <= source(None, items=ItemsConfig(4, None), subset_seed=1).describe().keys()


@pytest.mark.parametrize("inner", ["", "FashionMNIST/raw"])
def test_every_place_is_searched(tmp_path: Path, inner: str) -> None:
    for place in ("given", "default", "debian"):
        write(tmp_path / place / inner)
    files = replace(source(tmp_path / "given"), default_root=str(tmp_path / "default")).files()
    assert {path.parent for path in files.values()} == {tmp_path / "given" / inner}
    files = source(None, default_root=str(tmp_path / "default")).files()
    assert {path.parent for path in files.values()} == {tmp_path / "default" / inner}
    files = source(None, default_root=str(tmp_path / "nowhere")).files()
    assert {path.parent for path in files.values()} == {tmp_path / "debian" / inner}


def test_a_given_root_is_not_replaced_by_another_place(tmp_path: Path) -> None:
    write(tmp_path / "debian")
    with pytest.raises(UserError, match="dataset.source.root=.*apt-get install dataset-fashion-mnist") as caught:
        source(tmp_path / "typo").fingerprint()
    assert str(tmp_path / "typo") in str(caught.value)


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    (write(tmp_path / "raw") / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="lacks t10k-labels-idx1-ubyte"):
        source(tmp_path / "raw").fingerprint()


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    first = source(tmp_path / "a").fingerprint()
    path = tmp_path / "b" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(5, np.uint8))))
    assert len(first) == 4 and source(tmp_path / "b").fingerprint() != first


TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
GOOD_IMAGES, GOOD_LABELS = idx(content()[TEST_IMAGES]), idx(content()[TEST_LABELS])
DAMAGE = {
    "wrong magic": (TEST_IMAGES, b"\0\0\x09\x03" + GOOD_IMAGES[4:], "starts with 0x00000903, not 0x00000803"),
    "labels as images": (TEST_IMAGES, GOOD_LABELS + GOOD_LABELS, "starts with 0x00000801, not 0x00000803"),
    "cut short": (TEST_IMAGES, GOOD_IMAGES[:-1], "has 3935 bytes but its header announces 3936"),
    "too long": (TEST_IMAGES, GOOD_IMAGES + b"\0", "has 3937 bytes but its header announces 3936"),
    "no header": (TEST_IMAGES, GOOD_IMAGES[:7], "cut short: it has 7 bytes"),
    "other size": (TEST_IMAGES, idx(np.zeros((5, 32, 32), np.uint8)), r"holds items of \[32, 32\]"),
    "fewer labels": (TEST_LABELS, idx(np.zeros(4, np.uint8)), "has 4 labels but .* has 5 images"),
    "unknown label": (TEST_LABELS, idx(np.full(5, 10, np.uint8)), "holds the label 10"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_content(tmp_path: Path, case: str) -> None:
    name, damaged, complaint = DAMAGE[case]
    (write(tmp_path / "raw") / f"{name}.gz").write_bytes(gzip.compress(damaged))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=complaint) as caught:
        prepare(source(tmp_path / "raw"), out, "fashion_mnist")
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not list(out.iterdir())  # found before anything was written


@pytest.mark.parametrize("damaged", [gzip.compress(GOOD_IMAGES)[:-20], b"<html>404</html>", b""])
def test_damaged_archive(tmp_path: Path, damaged: bytes) -> None:
    (write(tmp_path / "raw") / f"{TEST_IMAGES}.gz").write_bytes(damaged)
    with pytest.raises(UserError, match=f"{TEST_IMAGES}.gz is (damaged or )?cut short"):
        source(tmp_path / "raw").count("train")


@pytest.mark.parametrize("change", [{"condition": "style"}, {"resolution": 64}])
def test_wrong_values_are_refused(change: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"dataset.source.{next(iter(change))}="):
        configure(source(None), **change)
