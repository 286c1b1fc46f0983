"""ArtBench-10 in every published layout: pixels, splits and the table survive, what is wrong is named."""

import csv
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.artbench10 import BATCHED, SPLIT, STYLES, UNSPLIT, ArtBench10
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "artbench10.yaml"
COLUMNS = ["name", "artist", "url", "is_public_domain", "length", "width", "label", "split", "cifar_index"]
ORDER = ["impressionism", "realism", *(style for style in STYLES if style not in ("impressionism", "realism"))]  # meta
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
Photograph = Callable[..., np.ndarray]
IsLike = Callable[[np.ndarray, np.ndarray], bool]


def source(root: Path, **values: Any) -> ArtBench10:
    return replace(ArtBench10(str(root), layout="auto", resolution=8, condition="style"), **values)


def prepared(wanted: ArtBench10, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "artbench10")
    return load(folder)


def works(split: str) -> list[tuple[str, str, str]]:
    """Style, artist and file name of each work, in the order of the items: two to train on of every style, one to
    test."""
    names = {"train": ["vincent-van-gogh_äpfel-und-birnen.jpg", "zoë_a, b.jpg"], "test": ["anon_x.jpg"]}[split]
    return [(style, name.split("_")[0], name) for style in STYLES for name in names]


def mode(style: str) -> str:
    return {"baroque": "L", "realism": "CMYK"}.get(style, "RGB")


def write_table(path: Path, rows: list[dict[str, Any]], columns: list[str] = COLUMNS) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def table() -> list[dict[str, Any]]:
    """The published columns; cifar_index counts the works of a split in the order of the batches."""
    rows = []
    for split in ("train", "test"):
        places = {work: place for place, work in enumerate(batched(split))}
        for style, artist, name in works(split):
            rows.append(
                {
                    "name": name,
                    "artist": artist,
                    "url": "https://uploads.example/x.jpg",
                    "is_public_domain": True,
                    "length": 800,
                    "width": 600,
                    "label": style,
                    "split": split,
                    "cifar_index": places[style, artist, name],
                }
            )
    return rows[::-1]


def batched(split: str) -> list[tuple[str, str, str]]:
    """The works in the order in which the batches hold them."""
    chosen = works(split)
    return [chosen[place] for place in np.random.default_rng(len(split)).permutation(len(chosen))]


@pytest.fixture
def split_root(tmp_path: Path, photograph: Photograph) -> Path:
    """The split folder with things that do not count, without the table."""
    root = tmp_path / "raw"
    for split in ("train", "test"):
        for number, (style, _, name) in enumerate(works(split)):
            photograph(root / SPLIT / split / style / name, number + 100 * (split == "test"), mode=mode(style))
    (root / SPLIT / "train" / "baroque" / "notes.txt").write_text("no image")
    (root / SPLIT / "train" / "baroque" / "._zoë_a, b.jpg").write_bytes(b"")
    (root / SPLIT / ".DS_Store").write_bytes(b"")
    return root


@pytest.fixture
def unsplit_root(tmp_path: Path, split_root: Path) -> Path:
    """The unsplit folder beside the table."""
    root = tmp_path / "whole"
    for split in ("train", "test"):
        shutil.copytree(split_root / SPLIT / split, root / UNSPLIT, dirs_exist_ok=True)
    write_table(root / "ArtBench-10.csv", table())
    return root


@pytest.fixture
def batched_root(tmp_path: Path) -> Path:
    """The batches as Kaggle has them, one folder deeper, without the table."""
    root = tmp_path / "small"
    folder = root / "artbench-10-python" / BATCHED
    folder.mkdir(parents=True)
    for name, data, labels in zip(BATCHES, pixels(), label_lists(), strict=True):
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels, "filenames": ["x"] * len(data)}, 4))
    (folder / "meta").write_bytes(pickle.dumps({"styles": ORDER, "num_vis": 3072}, 4))
    return root


def label_lists() -> list[Any]:
    """The labels of each batch: lists, and an array as numpy users leave them."""
    train = [ORDER.index(style) for style, _, _ in batched("train")]
    lists: list[Any] = [train[start : start + 4] for start in range(0, 20, 4)]
    return [*lists, np.array([ORDER.index(style) for style, _, _ in batched("test")])]


def pixels() -> list[np.ndarray]:
    return [
        np.random.default_rng(number).integers(0, 256, (size, 3072), np.uint8)
        for number, size in enumerate([4] * 5 + [10])
    ]


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == source(Path("/raw/artbench10"), resolution=64)
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())


def check_pictures(data: Prepared, is_like: IsLike, photograph: Photograph, folder: Path) -> None:
    for split, items in (("train", data.train), ("test", data.test)):
        expected = works(split)
        assert items.items["style"].tolist() == [style for style, _, _ in expected]
        assert items.items["name"].tolist() == [name for _, _, name in expected]
        assert items.conditions is not None and data.condition_size == 10
        assert items.conditions[:, 0].argmax(-1).tolist() == [STYLES.index(style) for style, _, _ in expected]
        for number, (image, (style, _, _)) in enumerate(zip(items.pixels, expected, strict=True)):
            seed = number + 100 * (split == "test")
            assert is_like(image, photograph(folder / "again.jpg", seed, mode=mode(style))), (style, number)


@pytest.mark.parametrize("inside", ["", SPLIT])
def test_split_folder(split_root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike, inside: str) -> None:
    data = prepared(source(split_root / inside), tmp_path / "out")
    check_pictures(data, is_like, photograph, tmp_path)
    assert "artist" not in data.train.items
    assert data.train.pixels.shape == (20, 8, 8, 3)


@pytest.mark.parametrize("inside", ["", UNSPLIT])
def test_unsplit_folder(
    unsplit_root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike, inside: str
) -> None:
    data = prepared(source(unsplit_root / inside, layout="folder"), tmp_path / "out")
    check_pictures(data, is_like, photograph, tmp_path)
    assert data.train.items.artist.tolist() == [artist for _, artist, _ in works("train")]


def test_the_layouts_give_the_same_items(split_root: Path, unsplit_root: Path, tmp_path: Path) -> None:
    shutil.copy(unsplit_root / "ArtBench-10.csv", split_root / "metadata.csv")
    one, other = prepared(source(split_root), tmp_path / "a"), prepared(source(unsplit_root), tmp_path / "b")
    assert one.content == other.content


@pytest.mark.parametrize("inside", ["", "artbench-10-python", f"artbench-10-python/{BATCHED}"])
def test_batches(batched_root: Path, tmp_path: Path, inside: str) -> None:
    data = prepared(source(batched_root / inside, resolution=32), tmp_path / "out")
    for split, items, expected in (("train", data.train, pixels()[:5]), ("test", data.test, pixels()[5:])):
        assert np.array_equal(items.pixels.transpose(0, 3, 1, 2).reshape(-1, 3072), np.concatenate(expected))
        styles = [style for style, _, _ in batched(split)]
        assert items.items["style"].tolist() == styles and list(items.items.columns) == ["id", "style"]
        assert items.conditions is not None
        assert items.conditions[:, 0].argmax(-1).tolist() == [STYLES.index(style) for style in styles]


def test_batches_with_the_table(batched_root: Path, tmp_path: Path) -> None:
    write_table(batched_root / "ArtBench-10.csv", table())
    data = prepared(source(batched_root, resolution=32, condition="none"), tmp_path / "out")
    for split, items in (("train", data.train), ("test", data.test)):
        found = list(zip(items.items["style"], items.items.artist, items.items["name"], strict=True))
        assert found == batched(split) and items.conditions is None


def test_folders_come_before_batches_unless_told(split_root: Path, batched_root: Path) -> None:
    shutil.copytree(batched_root, split_root, dirs_exist_ok=True)
    assert set(source(split_root).fingerprint()) == {"images"}
    assert source(split_root, layout="batches", resolution=32).count("test") == 10
    assert "test_batch" in source(split_root, layout="batches", resolution=32).fingerprint()
    with pytest.raises(UserError, match=r"no artbench-10-imagefolder-split, artbench-10-imagefolder\).*root=<folder>"):
        source(batched_root, layout="folder").fingerprint()


def test_batches_want_their_own_resolution(batched_root: Path) -> None:
    with pytest.raises(UserError, match=r"32 x 32 instead of 64 x 64: set dataset\.source\.resolution=32") as caught:
        source(batched_root, resolution=64).fingerprint()
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"ArtBench-10 is not in .*dataset\.source\.root=<folder>, or fetch https"):
            source(root).fingerprint()
    with pytest.raises(UserError, match="is not in ''"):
        replace(source(tmp_path), root="").count("train")


def test_fingerprint_follows_images_and_table(split_root: Path, photograph: Photograph) -> None:
    first = source(split_root).fingerprint()
    assert source(split_root, resolution=4, condition="none").fingerprint() == first
    write_table(split_root / "ArtBench-10.csv", table())
    second = source(split_root).fingerprint()
    assert second["images"] == first["images"] and set(second) == {"images", "table"}
    photograph(split_root / SPLIT / "test" / "ukiyo_e" / "anon_x.jpg", 5, size=(30, 30))
    assert source(split_root).fingerprint()["images"] != first["images"]


def test_a_work_that_the_table_does_not_know_has_no_artist(split_root: Path, tmp_path: Path) -> None:
    write_table(split_root / "ArtBench-10.csv", [row for row in table() if row["label"] != "ukiyo_e"])
    data = prepared(source(split_root), tmp_path / "out")
    assert data.test.items.artist.tolist() == ["anon"] * 9 + [""]


def test_partly_downloaded_folders(split_root: Path, unsplit_root: Path, batched_root: Path) -> None:
    folder = unsplit_root / UNSPLIT / "surrealism"
    for name in ("anon_x.jpg", "zoë_a, b.jpg"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"surrealism/zoë_a, b\.jpg is missing \(2 images in all\): .*ArtBench-10\.csv"):
        source(unsplit_root).fingerprint()
    (unsplit_root / "ArtBench-10.csv").unlink()
    with pytest.raises(UserError, match=r"is not split into train and test.*fetch https://\S+/ArtBench-10\.csv into"):
        source(unsplit_root).fingerprint()
    shutil.rmtree(split_root / SPLIT / "test" / "ukiyo_e")
    with pytest.raises(UserError, match="test/ukiyo_e holds no images: fetch"):
        source(split_root).fingerprint()
    shutil.rmtree(split_root / SPLIT / "test")
    with pytest.raises(UserError, match="test/art_nouveau holds no images: fetch"):
        source(split_root).fingerprint()
    (batched_root / "artbench-10-python" / BATCHED / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"\(data_batch_3 missing\).*artbench-10-python\.tar\.gz"):
        source(batched_root, resolution=32).fingerprint()


def change(place: int, **values: Any) -> list[dict[str, Any]]:
    rows = table()
    return [*rows[:place], rows[place] | values, *rows[place + 1 :]]


@pytest.mark.parametrize(
    ("rows", "columns", "complaint"),
    [
        (table(), [name for name in COLUMNS if name != "split"], "has no column split"),
        ([], COLUMNS, "has no rows"),
        (change(3, split="valid"), COLUMNS, "in valid, which is unknown"),
        (change(3, label="cubism"), COLUMNS, "lists cubism/"),
        ([*table(), table()[0] | {"split": "train"}], COLUMNS, "both in train and in test"),
        (table()[:-1], COLUMNS, "does not list .*remove the image"),
    ],
)
def test_wrong_tables_are_refused(
    unsplit_root: Path, rows: list[dict[str, Any]], columns: list[str], complaint: str
) -> None:
    write_table(unsplit_root / "ArtBench-10.csv", rows, columns)
    with pytest.raises(UserError, match=f"ArtBench-10.csv.*{complaint}") as caught:
        source(unsplit_root).fingerprint()
    assert "\n" not in str(caught.value)


def test_a_table_that_contradicts_the_batches(batched_root: Path) -> None:
    rows = table()
    write_table(batched_root / "ArtBench-10.csv", [*rows[1:], rows[0] | {"label": "baroque"}])
    with pytest.raises(UserError, match=r"Item \d of test is ukiyo_e in .* but baroque in ArtBench-10\.csv"):
        source(batched_root, resolution=32).count("train")


def test_other_styles_are_refused(batched_root: Path) -> None:
    meta = batched_root / "artbench-10-python" / BATCHED / "meta"
    meta.write_bytes(pickle.dumps({"styles": [*ORDER[:-1], "cubism"]}, 4))
    with pytest.raises(UserError, match="meta names the styles .*cubism"):
        source(batched_root, resolution=32).count("train")


def test_a_corrupt_image_is_named(split_root: Path, tmp_path: Path) -> None:
    path = split_root / SPLIT / "test" / "realism" / "anon_x.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"test/realism/anon_x\.jpg cannot be read as an image"):
        prepare(source(split_root), tmp_path, "artbench10")


@pytest.mark.parametrize("values", [{"layout": "tar"}, {"condition": "label"}, {"resolution": 0}])
def test_wrong_values_are_refused(values: dict[str, Any], configure: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match=f"dataset.source.{next(iter(values))}="):
        configure(source(Path("/raw")), **values)


def test_a_step_of_training(split_root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    train_one_step(prepared(source(split_root), tmp_path / "out"))
