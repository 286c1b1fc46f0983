"""The mixtures: what the fields and conditions say is what the pixels show, and the knobs do what they promise."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data import mixtures
from tdattr.data.groups import find_groups
from tdattr.data.mixtures import APART, CELLS, EMPTY, INK, MOST_GROUPS, Mixtures, enlarge, stamps
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Example, Prepared, Source, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "mixtures.yaml"
SOURCE = Mixtures(
    resolution=16,
    groups=10,
    items=600,
    test_items=100,
    jitter=0,
    overlap=0.0,
    imbalance=1.0,
    parts=2,
    condition="composition",
    seed=1,
)
MIXED = replace(SOURCE, items=160, test_items=60, overlap=0.4, parts=3, jitter=1)


@pytest.fixture(autouse=True, scope="module")
def drawn_once() -> Iterator[None]:
    """The stamps are the same for most sources here: they are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixtures, "stamps", cache(stamps))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("mixtures")
    prepare(SOURCE, folder, "mixtures")
    return load(folder)


def seen(image: np.ndarray, patterns: np.ndarray) -> list[int]:
    """The stamp of each cell, or EMPTY, found by comparing every cell with every stamp wherever the jitter may be."""
    half = len(image) // 2
    templates = {enlarge(pattern, len(image)).tobytes(): number for number, pattern in enumerate(patterns)}
    templates[np.zeros((half, half), bool).tobytes()] = EMPTY
    found = []
    for move in product((-1, 0, 1), repeat=2):
        ink = np.roll(image[..., 0] > 100, move, (0, 1))
        parts = [ink[y : y + half, x : x + half].tobytes() for y in (0, half) for x in (0, half)]
        if all(part in templates for part in parts):
            found.append([templates[part] for part in parts])
    assert len(found) == 1
    return found[0]


def composition(cells: list[int]) -> dict[str, float]:
    """What an item that shows these stamps must say."""
    filled = [cell for cell in cells if cell != EMPTY]
    return {f"group {cell:02d}": filled.count(cell) / len(filled) for cell in sorted(set(filled))}


def told(example: Example) -> dict[str, float]:
    """What an item says."""
    return json.loads(example.fields["composition"])


def test_yaml_describes_the_source() -> None:
    assert build(OmegaConf.load(YAML).source, "dataset.source") == SOURCE


def test_counts_groups_and_range(data: Prepared) -> None:
    assert (len(data.train), len(data.test), data.resolution, data.channels) == (600, 100, 16, 1)
    assert data.condition_size == 10
    by_group = find_groups(data, "group")
    assert list(by_group) == SOURCE.names and {len(ids) for ids in by_group.values()} == {60}
    assert set(data.test.items.group.value_counts()) == {10}
    assert (data.train.pixels.max(axis=(1, 2, 3)) > 180).all() and data.train.pixels.min() == 0


def test_conditions_are_the_compositions(data: Prepared) -> None:
    for split in (data.train, data.test):
        assert split.conditions is not None and split.conditions.shape == (len(split), 1, 10)
        for text, owner, [vector] in zip(split.items.composition, split.items.group, split.conditions, strict=True):
            shares = json.loads(text)
            assert list(shares) == sorted(shares) and sum(shares.values()) == pytest.approx(1)
            assert max(shares, key=shares.__getitem__) == owner
            np.testing.assert_allclose(vector, [shares.get(name, 0) for name in SOURCE.names], rtol=1e-6)


def test_without_overlap_items_show_their_own_stamp_alone(data: Prepared) -> None:
    patterns = mixtures.stamps(1, 10)
    filled = []
    for pixels, owner, text in zip(
        data.train.pixels, data.train.items.group, data.train.items.composition, strict=True
    ):
        cells = seen(pixels, patterns)
        assert composition(cells) == json.loads(text) == {owner: 1.0}
        filled.append(CELLS - cells.count(EMPTY))
    assert np.bincount(filled).tolist() == [0, 150, 150, 150, 150]


@pytest.mark.parametrize("resolution", [16, 20, 28, 32])
def test_pixels_show_what_the_compositions_say(resolution: int) -> None:
    source = replace(MIXED, resolution=resolution)
    patterns = mixtures.stamps(1, 10)
    for split in ("train", "test"):
        for example in source.examples(split):
            image = np.asarray(example.image)
            assert image.shape == (resolution, resolution, 1) and image.dtype == np.uint8
            assert composition(seen(image, patterns)) == pytest.approx(told(example))


def test_overlap_fills_that_share_of_the_free_cells() -> None:
    source = replace(MIXED, items=1200)
    patterns = mixtures.stamps(1, 10)
    filled, foreign = [], []
    for example, owner in zip(source.examples("train"), source.owners("train"), strict=True):
        cells = seen(np.asarray(example.image), patterns)
        others = [cell for cell in cells if cell != owner]
        foreign += [cell for cell in others if cell != EMPTY]
        filled += [cell != EMPTY for cell in others]
    assert np.mean(filled) == pytest.approx(0.4, abs=0.03)
    assert np.bincount(foreign, minlength=10).min() > 0.6 * len(foreign) / 10


def test_test_items_are_balanced_compositions_of_unequal_shares() -> None:
    examples = list(replace(MIXED, test_items=90).examples("test"))
    kinds = [tuple(sorted(told(example).values(), reverse=True)) for example in examples]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {(1,): 30, (0.75, 0.25): 30, (0.5, 0.25, 0.25): 30}
    for kind in set(kinds):
        chosen = [example for example, own in zip(examples, kinds, strict=True) if own == kind]
        mains = [example.fields["group"] for example in chosen]
        lesser = [name for example in chosen for name in told(example) if name != example.fields["group"]]
        assert {mains.count(name) for name in SOURCE.names} == {3}
        assert {lesser.count(name) for name in SOURCE.names} == {3 * (len(kind) - 1)}
        assert all(told(example)[example.fields["group"]] == kind[0] for example in chosen)


def test_an_item_depends_on_seed_split_and_index_alone() -> None:
    first, again = list(MIXED.examples("train")), list(MIXED.examples("train"))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.fields == other.fields
    shorter = list(replace(MIXED, test_items=7).examples("test"))
    for one, other in zip(shorter, MIXED.examples("test"), strict=False):
        np.testing.assert_array_equal(one.image, other.image)
    images = {np.asarray(example.image).tobytes() for split in ("train", "test") for example in MIXED.examples(split)}
    assert len(images) == 160 + 60
    other_seed = next(replace(MIXED, seed=2).examples("train"))
    assert (np.asarray(other_seed.image) != np.asarray(first[0].image)).any()


@pytest.mark.parametrize(("imbalance", "items", "count"), [(1, 600, 10), (8, 600, 10), (30, 5000, 128), (3, 7, 2)])
def test_sizes_fall_geometrically(imbalance: float, items: int, count: int) -> None:
    source = replace(SOURCE, imbalance=imbalance, items=items, groups=count)
    sizes = source.sizes()
    assert len(sizes) == count and sizes.sum() == items and (np.diff(sizes) <= 0).all()
    exact = sizes[0] / imbalance ** (np.arange(count) / (count - 1))
    assert np.abs(sizes - exact).max() <= 1.5
    assert np.bincount(source.owners("train")).tolist() == sizes.tolist()


@pytest.mark.parametrize("seed", [1, 2])
def test_stamps_differ_clearly_even_when_moved(seed: int) -> None:
    many = stamps(seed, MOST_GROUPS)
    assert many.shape == (MOST_GROUPS, 6, 6)
    ink = many.sum(axis=(1, 2))
    assert ink.min() >= INK[0] and ink.max() <= INK[1]
    wide = np.pad(many, ((0, 0), (2, 2), (2, 2)))
    nearest = np.full((MOST_GROUPS, MOST_GROUPS), 36)
    for move in product(range(-2, 3), repeat=2):
        moved = np.roll(wide, move, (1, 2))
        nearest = np.minimum(nearest, [(wide != one).sum(axis=(1, 2)) for one in moved])
    assert min(nearest[one, other] for one, other in combinations(range(MOST_GROUPS), 2)) >= APART
    few = stamps(seed, 10)
    np.testing.assert_array_equal(few, many[:10])
    assert min(nearest[one, other] for one, other in combinations(range(10), 2)) >= 14


def test_names_sort_as_their_numbers_do() -> None:
    names = replace(SOURCE, groups=128).names
    assert names == sorted(names) and (names[3], names[127]) == ("group 003", "group 127")


def test_unconditional_and_no_test_items() -> None:
    source = replace(MIXED, condition="none", test_items=0)
    example = next(source.examples("train"))
    assert example.condition is None and told(example)
    assert (source.count("train"), source.count("test")) == (160, 0) and not list(source.examples("test"))


@pytest.mark.parametrize(
    "change",
    [
        {"condition": "group"},
        {"resolution": 12},
        {"resolution": 18},
        {"groups": 1},
        {"groups": 129},
        {"parts": 0},
        {"parts": 4},
        {"parts": 3, "groups": 2},
        {"jitter": -1},
        {"jitter": 2},
        {"overlap": -0.1},
        {"overlap": 1.5},
        {"overlap": float("nan")},
        {"imbalance": 0.5},
        {"imbalance": float("inf")},
        {"test_items": -1},
        {"seed": -1},
        {"items": 0},
        {"items": 9},
        {"items": 20, "imbalance": 1000.0},
    ],
    ids=str,
)
def test_wrong_values_are_refused(change: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"^dataset.source.{next(iter(change))}="):
        configure(SOURCE, **change)
