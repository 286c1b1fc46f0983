"""CIFAR-10, and the part of it that is CIFAR-2, read from small batches in the published format."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.cifar10 import FOLDER, Cifar10
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.data.subset import ItemsConfig
from tdattr.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "dataset"
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


def source(root: Path, condition: str = "none", **values: Any) -> Cifar10:
    whole = Cifar10(str(root), condition, classes=None, items=ItemsConfig(None, None), subset_seed=42)
    return replace(whole, **values)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / FOLDER
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        dump(folder / name, batch(number))
    meta = {b"num_cases_per_batch": SIZE, b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    dump(folder / "batches.meta", meta)
    return folder.parent


@pytest.mark.parametrize(
    ("name", "changes"),
    [("cifar10", {}), ("cifar2", {"classes": ["automobile", "horse"], "items": ItemsConfig(5000, 1000)})],
)
def test_yaml_describes_the_source(name: str, changes: dict[str, Any]) -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    assert build(config.dataset.source, "dataset.source") == source(Path("/raw/cifar10"), **changes)
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())
    assert config.dataset.counts == ({"train": 5000, "test": 1000} if changes else {"train": 50000, "test": 10000})


@pytest.mark.parametrize("inside", [False, True])
def test_everything_survives(root: Path, tmp_path: Path, inside: bool) -> None:
    (tmp_path / "out").mkdir()
    prepare(source(root / FOLDER if inside else root, "label"), tmp_path / "out", "cifar10")
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
    assert next(source(root).examples("test")).condition is None


def test_fingerprint_follows_the_files(root: Path) -> None:
    first = source(root).fingerprint()
    assert set(first) == {*BATCHES, "batches.meta"} and source(root, "label").fingerprint() == first
    dump(root / FOLDER / "test_batch", batch(9))
    assert source(root).fingerprint() != first


def test_missing_files_name_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"dataset\.source\.root=<folder>.*CIFAR10\('.*nowhere', download=True\)"
    ) as caught:
        source(tmp_path / "nowhere").fingerprint()
    assert "\n" not in str(caught.value)
    (root / FOLDER / "data_batch_4").unlink()
    with pytest.raises(UserError, match=r"\(data_batch_4 missing\)"):
        source(root).fingerprint()


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_a_malicious_batch_does_not_execute(root: Path, tmp_path: Path) -> None:
    dump(root / FOLDER / "data_batch_2", batch(1) | {b"extra": Harmful(tmp_path / "executed")})
    with pytest.raises(UserError, match="data_batch_2.*it asks for"):
        source(root).count("train")
    assert not (tmp_path / "executed").exists()


def test_a_truncated_batch_is_found_before_anything_is_prepared(root: Path, tmp_path: Path) -> None:
    path = root / FOLDER / "test_batch"
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="test_batch is damaged"):
        prepare(source(root), tmp_path / "out", "cifar10")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("data_batch_1", {b"data": np.zeros((SIZE, 3071), np.uint8)}, "no images of 3 x 32 x 32"),
        ("data_batch_1", {b"data": [1, 2]}, "no images of 3 x 32 x 32"),
        ("data_batch_1", {b"labels": [0] * (SIZE - 1)}, "one label of 0..9 per image"),
        ("data_batch_1", {b"labels": [0] * (SIZE - 1) + [10]}, "one label of 0..9 per image"),
        ("data_batch_1", {b"labels": [[]] * SIZE}, "one label of 0..9 per image"),
        ("data_batch_1", {b"data": np.zeros((SIZE, 3072), np.int64)}, "no images of 3 x 32 x 32"),
        ("batches.meta", {b"label_names": [b"cat"]}, "10 class names under label_names"),
    ],
)
def test_wrong_content_is_refused(root: Path, name: str, change: dict[bytes, Any], complaint: str) -> None:
    dump(root / FOLDER / name, batch(0) | change)
    with pytest.raises(UserError, match=f"{name}.*{complaint}"):
        source(root).count("test")


def test_wrong_condition_is_refused(configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match="dataset.source.condition=style is unknown: choose none or label"):
        configure(source(Path("/raw")), condition="style")


def test_chosen_classes_are_kept_in_the_published_order(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    prepare(source(root, "label", classes=["horse", "cat", "dog"]), tmp_path / "out", "cifar")
    data = load(tmp_path / "out")
    expected = [
        (image, NAMES[label])
        for number in range(5)
        for image, label in zip(batch(number)[b"data"], batch(number)[b"labels"], strict=True)
        if NAMES[label] in ("cat", "dog", "horse")
    ]
    assert expected and data.train.items.label.tolist() == [label for _, label in expected]
    assert np.array_equal(
        data.train.pixels.transpose(0, 3, 1, 2).reshape(len(expected), -1), [image for image, _ in expected]
    )
    assert data.train.conditions is not None and data.condition_size == 3
    classes = data.train.conditions[:, 0].argmax(-1).tolist()
    assert [["cat", "dog", "horse"][place] for place in classes] == [label for _, label in expected]


@pytest.fixture
def larger(root: Path) -> Path:
    """Batches of 20: two images of every class, the red of the first pixel counting them."""
    for number, name in enumerate(BATCHES):
        data = np.zeros((20, 3072), np.uint8)
        data[:, 0] = np.arange(20) + 20 * (number % 5)
        labels = np.random.default_rng(number).permutation(20) % 10
        dump(root / FOLDER / name, {b"data": data, b"labels": labels.tolist()})
    return root


def test_drawn_items_are_those_of_hugging_faces_order(larger: Path) -> None:
    """D-TRAK drew with scikit-learn from Hugging Face's CIFAR-10, which follows the archive: batches 4, 3, 2, 5, 1."""
    from sklearn.model_selection import train_test_split

    order = np.concatenate([np.arange(20) + 20 * (number - 1) for number in (4, 3, 2, 5, 1)])
    all_labels = np.concatenate([np.random.default_rng(number).permutation(20) % 10 for number in range(5)])
    ours = order[np.isin(all_labels[order], [1, 7])]
    expected, _ = train_test_split(ours, train_size=10, random_state=42, stratify=all_labels[ours])
    cifar2 = source(larger, classes=["automobile", "horse"], items=ItemsConfig(10, 2))
    examples = list(cifar2.examples("train"))
    assert [int(example.read()[0, 0, 0]) for example in examples] == sorted(expected.tolist())
    assert [example.fields["label"] for example in examples].count("horse") == 5
    assert [example.fields["label"] for example in cifar2.examples("test")].count("horse") == 1
    assert (cifar2.count("train"), cifar2.count("test")) == (10, 2)
    assert cifar2.fingerprint() == source(larger).fingerprint()
    other = [int(example.read()[0, 0, 0]) for example in replace(cifar2, subset_seed=1).examples("train")]
    assert other != sorted(expected.tolist()) and len(set(other)) == 10


def test_a_draw_needs_enough_items(larger: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.source\.items\.test=5 asks for more than the 4 items"):
        source(larger, classes=["automobile", "horse"], items=ItemsConfig(10, 5)).count("train")


@pytest.mark.parametrize(("classes", "named"), [(["horse", "unicorn"], "unicorn"), ([], "nothing")])
def test_unknown_classes_are_refused_early(root: Path, classes: list[str], named: str) -> None:
    with pytest.raises(UserError, match=f"dataset.source.classes names {named}: choose among airplane, .*, truck"):
        source(root, classes=classes).fingerprint()


def test_a_step_of_training(root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    (tmp_path / "out").mkdir()
    prepare(source(root, "label"), tmp_path / "out", "cifar10")
    train_one_step(load(tmp_path / "out"))
