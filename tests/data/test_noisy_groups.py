"""Groups with noise: the authors' manifest for the same groups, sizes that stay, and a sentence for what cannot be."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.groups import find_groups
from tdattr.data.noisy_groups import Noise, count_moves, write_manifest
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.pipeline.run import write_noisy_groups
from tdattr.tables import read_frame
from tests.conftest import CONF

# what create_balanced_noisy_cifar10_train_manifest of sony/guda (9fcf10c) does with its own values: how many items of
# each class (row) went to which (column), and the SHA-256 of the groups in the order of the ids, for the labels below
PUBLISHED = [
    [0, 100, 0, 25, 25, 25, 75, 0, 0, 0],
    [0, 0, 0, 50, 75, 25, 25, 0, 0, 75],
    [25, 50, 0, 25, 25, 25, 0, 25, 75, 0],
    [25, 0, 0, 0, 50, 50, 50, 0, 0, 75],
    [25, 25, 50, 100, 0, 0, 25, 0, 0, 25],
    [50, 25, 50, 0, 0, 0, 0, 50, 25, 50],
    [25, 0, 50, 0, 25, 25, 0, 75, 25, 25],
    [50, 0, 0, 25, 25, 50, 50, 0, 50, 0],
    [25, 25, 50, 0, 25, 50, 0, 75, 0, 0],
    [25, 25, 50, 25, 0, 0, 25, 25, 75, 0],
]
DIGEST = "107c52dfd464189f4addfa4784ef86d04cd620e2bb2e2e054e840abbd95ae92d"
MOVED_OF_FOUR = [2, 6, 9, 10, 16, 17, 22, 23, 39, 43, 46, 50, 56, 64, 70, 76, 77, 78, 79, 84, 87, 92, 111, 119]
GROUPS_OF_FOUR = [3, 2, 2, 2, 1, 2, 1, 3, 0, 1, 0, 1, 0, 1, 3, 2, 3, 0, 0, 0, 1, 3, 3, 2]


def labels(groups: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(groups), size))


def by_label(values: np.ndarray) -> dict[str, Ids]:
    return {f"class {label}": np.flatnonzero(values == label) for label in np.unique(values)}


def as_labels(groups: dict[str, Ids]) -> np.ndarray:
    values = np.full(sum(map(len, groups.values())), -1)
    for label, ids in enumerate(groups.values()):
        values[ids] = label
    return values


def published() -> Noise:
    return build(OmegaConf.load(CONF / "noisy_groups.yaml").noise, "noise")


def test_the_authors_manifest() -> None:
    before = by_label(labels(10, 5000))
    noisy = published().exchange(before)
    moves = count_moves(noisy, before)
    assert [[moves[a].get(b, 0) for b in before] for a in before] == PUBLISHED
    assert hashlib.sha256(as_labels(noisy).astype(np.int64).tobytes()).hexdigest() == DIGEST


def test_the_authors_manifest_with_other_values() -> None:
    values = labels(4, 30)
    noisy = as_labels(Noise(moved=6, block=2, seed=3).exchange(by_label(values)))
    moved = np.flatnonzero(noisy != values)
    assert moved.tolist() == MOVED_OF_FOUR and noisy[moved].tolist() == GROUPS_OF_FOUR


@pytest.mark.parametrize(("moved", "block"), [(12, 1), (12, 4), (12, 12), (30, 10)])
def test_sizes_stay_and_what_moves_leaves(moved: int, block: int) -> None:
    before = by_label(labels(5, 40)) | {"small": np.arange(200, 230)}
    noisy = Noise(moved, block, seed=1).exchange(before)
    assert list(noisy) == list(before)
    assert np.array_equal(np.sort(np.concatenate(list(noisy.values()))), np.arange(230))
    for name, ids in before.items():
        assert len(noisy[name]) == len(ids) and len(np.intersect1d(noisy[name], ids)) == len(ids) - moved
    assert all(count % block == 0 for takers in count_moves(noisy, before).values() for count in takers.values())


def test_another_seed_is_another_exchange() -> None:
    before = by_label(labels(5, 40))
    first, again, other = (as_labels(Noise(10, 5, seed).exchange(before)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"moved": 10, "block": 4}, "noise.moved=10 must be a multiple of noise.block=4"),
    ],
)
def test_wrong_values(values: dict[str, int], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Noise(**({"moved": 4, "block": 2, "seed": 1} | values))


def test_groups_that_cannot_exchange() -> None:
    with pytest.raises(UserError, match=r"dataset.groups gives 1: choose at least two"):
        published().exchange({"all": np.arange(1000)})
    with pytest.raises(UserError, match=r"Group 'class 0' has 40 items: lower noise.moved=250"):
        published().exchange(by_label(labels(5, 40)))


def test_the_manifest_is_read_as_groups(tiny_data: Prepared, tmp_path: Path) -> None:
    before = find_groups(tiny_data, "label")
    noisy = Noise(4, 2, 1).exchange(before)
    path = tmp_path / "noisy.csv"
    write_manifest(path, noisy, before)
    found = find_groups(tiny_data, str(path))
    assert found.keys() == noisy.keys() and all(np.array_equal(found[name], noisy[name]) for name in noisy)
    table = read_frame(path)
    assert list(table) == ["id", "group", "original"]
    assert table["original"].tolist() == tiny_data.train.items["label"].tolist()
    write_manifest(path, noisy, before, [f"{index}.png" for index in range(len(table))])
    assert read_frame(path)["name"].tolist() == [f"{index}.png" for index in range(len(table))]


def test_the_command(tmp_path: Path) -> None:
    values = ["dataset=glyph_digits", "noise.moved=4", "noise.block=2", f"manifest={tmp_path / 'noisy.csv'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("noisy_groups", [*values, f"paths.outputs={tmp_path}"])
    write_noisy_groups(cfg)
    table = read_frame(tmp_path / "noisy.csv").astype({"id": int})
    assert table["id"].tolist() == list(range(len(table)))
    moved = table["group"] != table["original"]
    assert moved.sum() == 4 * table["original"].nunique()
