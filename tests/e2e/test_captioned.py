"""`tdattr method=mucs dataset=coco` on a folder in COCO's form and a CLIP in the form of the hub, both made here."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tdattr.data.prepared import load
from tests.e2e.console import MUCS, TINY, tdattr
from tests.features.tiny_clip import WIDTH, save_clip

COUNTS = {"train": 40, "val": 6}
WORDS = ["ein roter Würfel {}", "a red cube {}", "the cube, no. {}", "女の子 {}", "cube {}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/coco and a CLIP; one photograph is gray and one is in CMYK."""
    folder = tmp_path_factory.mktemp("captioned")
    root = folder / "data" / "coco"
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        (root / f"{split}2017").mkdir(parents=True)
        images, notes = [], []
        for number in range(count):
            name = f"{number:012d}.jpg"
            picture = Image.fromarray(rng.integers(256, size=(6, 8, 3), dtype=np.uint8)).resize((40, 30))
            picture.convert({3: "L", 4: "CMYK"}.get(number, "RGB")).save(root / f"{split}2017" / name)
            images.append({"id": number, "file_name": name, "height": 30, "width": 40})
            notes += [
                {"id": 10 * number + index, "image_id": number, "caption": words.format(number)}
                for index, words in enumerate(WORDS)
            ]
        (root / "annotations").mkdir(exist_ok=True)
        content = json.dumps({"images": images, "annotations": notes})
        (root / "annotations" / f"captions_{split}2017.json").write_text(content)
    save_clip(folder / "clip")
    return folder


SMALL = [
    *(setting for setting in TINY if not setting.startswith("dataset")),
    "dataset=coco",
    "dataset.counts=null",
    "dataset.source.resolution=16",
    "dataset.text.weights=clip",
]


def test_mucs_on_coco(place: Path) -> None:
    clip = "measures.clip.extractor.weights=clip"
    done = tdattr(
        *SMALL, *MUCS, "method.null_loss.batch_size=10", "method=mucs", "metrics=[ssim,mse,clip]", clip, folder=place
    )
    summary = json.loads(next(place.glob("outputs/runs/*/summary.json")).read_text())
    assert set(summary["metrics"]) == {"ssim", "mse", "clip"} and summary["num_items"] == 40
    assert all(0 <= values["auc"] <= 1 for values in summary["metrics"].values())
    assert "MUCS" not in done.stderr.splitlines()[-1] and "Results: " in (done.stdout + done.stderr)
    data = load(place / "outputs" / "artifacts" / summary["artifacts"]["dataset"])
    assert data.train.conditions is not None and data.train.conditions.shape == (40, 5, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(data.train.conditions, axis=2), 1, atol=1e-5)
    assert data.train.items["prompt3"].tolist() == [f"女の子 {number}" for number in range(40)]
    queries = (place / "outputs" / "artifacts" / summary["artifacts"]["queries"] / "queries.csv").read_text()
    assert "ein roter Würfel" in queries


@pytest.mark.parametrize("method", ["condition", "clip"])
def test_similarity_methods_on_coco(place: Path, method: str) -> None:
    weights = ["method.extractor.weights=clip"] * (method == "clip")
    tdattr(*SMALL, f"method={method}", *weights, folder=place)
    before = set(place.glob("outputs/artifacts/*/*"))
    again = tdattr(*SMALL, f"method={method}", *weights, folder=place)
    assert set(place.glob("outputs/artifacts/*/*")) == before
    assert "nothing was computed" in again.stdout + again.stderr
    report = tdattr(folder=place, command="report")
    assert method in report.stdout


def test_without_text(place: Path) -> None:
    unconditional = [setting for setting in SMALL if "text" not in setting]
    tdattr(*unconditional, "dataset.text=null", "method=pixel", folder=place)


def test_wrong_counts_and_weights_cost_one_sentence(place: Path) -> None:
    strict = [setting for setting in SMALL if "counts" not in setting]
    done = tdattr(*strict, folder=place, command="prepare", check=False)
    assert done.returncode == 1 and "should have 118287 items in train but 40 were found" in done.stderr
    absent = [setting for setting in SMALL if "text" not in setting]
    done = tdattr(*absent, folder=place, command="prepare", check=False)
    assert "hf download laion/CLIP-ViT-L-14-laion2B-s32B-b82K model.safetensors" in done.stderr.splitlines()[-1]


def test_what_is_wrong_is_found_before_the_dataset_is_prepared(place: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(place / "data")
    (tmp_path / "clip").symlink_to(place / "clip")
    for wrong in ("metrics=[nope]", "metrics=[sscd]", "method=dino"):
        done = tdattr(*SMALL, wrong, folder=tmp_path, check=False)
        assert done.returncode == 1 and not list(tmp_path.glob("outputs/artifacts/*/*"))


def test_damaged_weights_are_found_before_training(place: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(place / "data")
    (tmp_path / "clip").symlink_to(place / "clip")
    save_clip(tmp_path / "damaged")
    path = tmp_path / "damaged" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    weights = "measures.clip.extractor.weights=damaged"
    done = tdattr(*SMALL, "method=random", "metrics=[clip]", weights, folder=tmp_path, check=False)
    assert done.returncode == 1 and "holds no CLIP model" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))
