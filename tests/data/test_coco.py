"""COCO captions read from small folders in the published format: order, captions and pixels survive."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tdattr.configs import build
from tdattr.data.coco import Coco, read_captions
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, load
from tdattr.errors import UserError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "coco.yaml"
IDS = {"train": [9, 581929, 25, 30], "test": [139, 285]}
NAMES = {"train": "train2017", "test": "val2017"}
MODES = {25: "L", 30: "CMYK"}
Photograph = Callable[..., np.ndarray]
IsLike = Callable[[np.ndarray, np.ndarray], bool]
WORDS = ["Mädchen {} füttert 🐈", "a girl, “feeding” cat {}", "NA", "two\nlines {}", " 女の子 {}\t ", "a sixth"]
CLEAN = ["Mädchen {} füttert 🐈", "a girl, “feeding” cat {}", "NA", "two lines {}", "女の子 {}", "a sixth"]


def source(root: Path, **values: Any) -> Coco:
    return replace(Coco(str(root), resolution=8, captions=5), **values)


def annotations(split: str) -> dict[str, Any]:
    """As COCO has them: captions in any order, six of them for one photograph."""
    notes = [
        {"image_id": image, "id": 1000 * number + place, "caption": words.format(image)}
        for number, image in enumerate(IDS[split])
        for place, words in enumerate(WORDS[: 6 if number == 0 else 5])
    ]
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {
                "license": 4,
                "file_name": f"{image:012d}.jpg",
                "coco_url": "",
                "height": 16,
                "width": 24,
                "date_captured": "2013-11-14 17:02:52",
                "flickr_url": "",
                "id": image,
            }
            for image in IDS[split]
        ],
        "annotations": notes[::-1],
    }


def table(root: Path, split: str) -> Path:
    return root / "annotations" / f"captions_{NAMES[split]}.json"


def write(root: Path, split: str, content: object) -> None:
    table(root, split).parent.mkdir(parents=True, exist_ok=True)
    mark = "utf-8-sig" if split == "test" else "utf-8"  # as some editors leave the file behind
    table(root, split).write_text(json.dumps(content, ensure_ascii=split == "train"), encoding=mark)


@pytest.fixture
def root(tmp_path: Path, photograph: Photograph) -> Path:
    folder = tmp_path / "raw"
    for split, ids in IDS.items():
        write(folder, split, annotations(split))
        for image in ids:
            photograph(folder / NAMES[split] / f"{image:012d}.jpg", image, mode=MODES.get(image, "RGB"))
    photograph(folder / "train2017" / "000000000001.jpg", 1)  # not listed
    (folder / "annotations" / "instances_train2017.json").write_text("{}")
    return folder


def prepared(wanted: Coco, folder: Path) -> Prepared:
    folder.mkdir()
    prepare(wanted, folder, "coco")
    return load(folder)


def test_yaml_describes_the_source() -> None:
    config = OmegaConf.create({"paths": {"data": "/raw"}, "dataset": OmegaConf.load(YAML)})
    assert build(config.dataset.source, "dataset.source") == Coco("/raw/coco", resolution=64, captions=5)
    assert "/raw" not in str(build(config.dataset.source, "dataset.source").describe())
    assert config.dataset.groups is None


def test_everything_survives(root: Path, tmp_path: Path, photograph: Photograph, is_like: IsLike) -> None:
    data = prepared(source(root), tmp_path / "out")
    for split, items in (("train", data.train), ("test", data.test)):
        ids = sorted(IDS[split])
        assert items.items.image_id.tolist() == [str(image) for image in ids]
        assert items.conditions is None and items.pixels.shape == (len(ids), 8, 8, 3)
        for image, pixels in zip(ids, items.pixels, strict=True):
            assert is_like(pixels, photograph(tmp_path / "again.jpg", image, mode=MODES.get(image, "RGB"))), image
        for place, words in enumerate(CLEAN[:5]):
            assert items.items[f"prompt{place or ''}"].tolist() == [words.format(image) for image in ids]
        assert "prompt5" not in items.items


def test_fewer_captions(root: Path, tmp_path: Path) -> None:
    data = prepared(source(root, captions=1), tmp_path / "out")
    assert data.train.items.prompt.tolist() == [CLEAN[0].format(image) for image in sorted(IDS["train"])]
    assert "prompt1" not in data.train.items


def test_an_encoder_makes_the_conditions(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    prepare(
        source(root), tmp_path / "out", "coco", lambda texts: np.array([[len(text), 1] for text in texts], np.float32)
    )
    data = load(tmp_path / "out")
    assert data.train.conditions is not None and data.train.conditions.shape == (4, 5, 2)
    assert data.train.conditions[:, 2, 0].tolist() == [2] * 4


def test_the_captions_are_parsed_once(root: Path, tmp_path: Path) -> None:
    read_captions.cache_clear()
    source(root).fingerprint()
    prepared(source(root), tmp_path / "out")
    assert read_captions.cache_info().misses == 2


def test_fingerprint_follows_captions_and_photographs(root: Path, photograph: Photograph) -> None:
    marks = [source(root).fingerprint()]
    assert source(root, resolution=4, captions=2).fingerprint() == marks[0]
    assert set(marks[0]) == {"train2017", "train2017 captions", "val2017", "val2017 captions"}
    changed = annotations("test")
    changed["annotations"][0]["caption"] = "something else, and longer"
    write(root, "test", changed)
    marks.append(source(root).fingerprint())
    photograph(root / "train2017" / f"{9:012d}.jpg", 9, size=(40, 40))
    marks.append(source(root).fingerprint())
    assert {name for name in marks[0] if marks[0][name] != marks[1][name]} == {"val2017 captions"}
    assert {name for name in marks[0] if marks[1][name] != marks[2][name]} == {"train2017"}
    assert source(root).photographs("test")[-1][2][-1] == "something else, and longer"


def test_missing_parts_name_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"train2017, val2017, annotations/.*root=<folder>, or fetch http://.*train2017\.zip and .*zip"
    ) as caught:
        source(tmp_path / "nowhere").fingerprint()
    assert "\n" not in str(caught.value)
    table(root, "test").unlink()
    with pytest.raises(
        UserError, match=r"\(annotations/captions_val2017\.json missing\).*annotations_trainval2017\.zip"
    ):
        source(root).fingerprint()


def test_listed_but_absent(root: Path) -> None:
    (root / "train2017" / f"{25:012d}.jpg").unlink()
    with pytest.raises(UserError, match=r"train2017/000000000025\.jpg is missing: .*captions_train2017\.json lists"):
        source(root).count("train")
    (root / "train2017" / f"{581929:012d}.jpg").unlink()
    with pytest.raises(UserError, match=r"000000000025\.jpg is missing \(2 images in all\): .*zips/train2017\.zip"):
        source(root).count("train")


def broken(**changes: Any) -> dict[str, Any]:
    return annotations("test") | changes


NOTES = annotations("test")["annotations"]
IMAGES = annotations("test")["images"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "holds no COCO captions"),
        ({"images": []}, "holds no COCO captions .KeyError: 'annotations'"),
        (broken(images=[{"file_name": "a.jpg"}]), "holds no COCO captions"),
        (broken(annotations=[*NOTES, {"id": 1, "image_id": 139, "caption": None}]), "holds no COCO captions"),
        (broken(images=[*IMAGES, IMAGES[0]]), "lists image 139 more than once"),
        (broken(annotations=[*NOTES, NOTES[0]]), "lists caption 1004 more than once"),
        (
            broken(annotations=[*NOTES, NOTES[0] | {"id": 7, "image_id": 8}]),
            "captions for image 8, which it does not list",
        ),
        (
            broken(annotations=NOTES[1:]),
            r"4 captions for image 285 \(000000000285.jpg\), fewer than .*captions=5: lower",
        ),
        (broken(annotations=[NOTES[0] | {"caption": " \n"}, *NOTES[1:]]), "4 captions for image 285"),
    ],
)
def test_wrong_annotations_are_refused(root: Path, content: object, complaint: str) -> None:
    write(root, "test", content)
    with pytest.raises(UserError, match=f"captions_val2017.json .*{complaint}") as caught:
        source(root).count("test")
    assert "\n" not in str(caught.value)


def test_cut_short_annotations_are_refused(root: Path) -> None:
    table(root, "train").write_bytes(table(root, "train").read_bytes()[:-10])
    with pytest.raises(UserError, match="captions_train2017\.json, line 1, is not JSON .*fetch"):
        source(root).count("train")


def test_corrupt_images_are_named(root: Path, tmp_path: Path) -> None:
    for image in (9, 30):
        path = root / "train2017" / f"{image:012d}.jpg"
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"2 images of coco cannot be read.*000000000009\.jpg cannot be read"):
        prepare(source(root), tmp_path, "coco")


def test_a_step_of_training(root: Path, tmp_path: Path, train_one_step: Callable[[Prepared], None]) -> None:
    (tmp_path / "out").mkdir()
    prepare(
        source(root), tmp_path / "out", "coco", lambda texts: np.array([[len(text), 1] for text in texts], np.float32)
    )
    train_one_step(load(tmp_path / "out"))
