"""UnlearnCanvas's accuracies of F1, of unlearned models and of LOGO's, from the command line."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tdattr as library
from tdattr.pipeline import accuracy
from tdattr.pipeline.accuracy import choose_items, list_models, open_classifier_setting, plan_accuracy, plan_images
from tdattr.pipeline.generate import sample_from
from tdattr.seeding import generator
from tests.codecs.vaes import save_vae
from tests.e2e.console import TINY, tdattr
from tests.e2e.leases import holders
from tests.features.words import NODE

FAMILIES = ["DejaVu Sans", "DejaVu Serif"]
ACCURACY = [
    "accuracy=classifier",
    "accuracy.objects=3",
    "accuracy.style_classifier.steps=30",
    "accuracy.style_classifier.size=16",
    "accuracy.object_classifier.steps=20",
]
GLYPHS = [
    *(setting for setting in TINY if not setting.startswith("dataset=")),
    *["dataset=glyph_digits", f"dataset.text={NODE}", "dataset.groups=family", f"attributed_groups={FAMILIES}"],
    *["train.ema=0.5", "elbo.stride=300", "protocol=logo", *ACCURACY],
]
UNIFORM = [
    *["method=guda_c", "objective@method.objective=uniform", "method.unlearn.steps=3", "method.unlearn.batch_size=4"],
    "method.unlearn.learning_rate=0.02",  # so that images change
    "method.objective.prompt='{object} in a {descriptors} typeface'",
]


def newest(folder: Path) -> Path:
    return max(folder.glob("outputs/runs/**/config.yaml"), key=lambda path: path.stat().st_mtime).parent


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((newest(folder) / "summary.json").read_text())["accuracy"]


def looked(folder: Path) -> Iterator[tuple[pd.DataFrame, Path]]:
    """What was seen in the images, and the artifacts, of every command."""
    for path in folder.glob("outputs/artifacts/accuracy/*"):
        yield pd.read_csv(path / "images.csv"), path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where F1 was looked at alone, before anything was unlearned or retrained."""
    folder = tmp_path_factory.mktemp("accuracy")
    done = tdattr("until=generate", "method=random", *GLYPHS, folder=folder)
    assert "6 images of F1" in done.stderr and "of held-out items right" in done.stderr
    assert "Models without" not in done.stderr and not list(folder.glob("outputs/artifacts/unlearn/*"))
    return folder


def test_f1_alone(folder: Path) -> None:
    table = pd.read_csv(newest(folder) / "accuracy.csv")
    assert table["group"].tolist() == FAMILIES
    assert set(table) == {"group", "f1_ua", "f1_ira", "f1_cra", "f1_cra_forgotten"}
    [(seen, _)] = looked(folder)
    assert len(seen) == 6 and set(seen["model"]) == {"F1"}
    for row in table.itertuples():
        own = seen[seen["style"] == row.group]
        assert row.f1_ua == pytest.approx((own["style"] != own["style_named"]).mean())
        assert row.f1_ira == pytest.approx((seen["style"] == seen["style_named"])[seen["style"] != row.group].mean())
        assert row.f1_cra == pytest.approx((seen["object"].astype(str) == seen["object_named"].astype(str)).mean())


@pytest.mark.parametrize("method", [["method=logo"], UNIFORM], ids=["logo", "guda_c"])
def test_models_without_a_group(method: list[str], folder: Path) -> None:
    before = len(list(folder.glob("outputs/artifacts/prompted_images/*")))
    done = tdattr(*method, *GLYPHS, folder=folder)
    found = summary(folder)
    assert [row["group"] for row in found["groups"]] == FAMILIES
    assert all(set(row) == {"group", "f1", "unlearned"} for row in found["groups"])
    assert len(list(folder.glob("outputs/artifacts/prompted_images/*"))) == before + len(FAMILIES)  # F1's are there
    mean = np.mean([row["unlearned"]["ua"] for row in found["groups"]])
    assert found["means"]["unlearned"]["ua"] == pytest.approx(mean)
    assert f"Models without a group: UA {100 * mean:.1f} %" in done.stderr
    assert "accuracies" in tdattr(folder=folder, command="report").stdout.lower()


def test_images_are_of_each_models_own_weights_under_the_same_seeds(folder: Path) -> None:
    """Sampled here one by one, of items that show what is said."""
    ws = library.compose([*GLYPHS, *UNIFORM, f"paths.outputs={folder}/outputs"])
    assert ws.accuracy is not None
    chosen = choose_items(ws, ws.accuracy)
    items = ws.data.train.items.iloc[chosen["id"]]
    assert items["family"].tolist() == chosen["style"].tolist()
    assert items["object"].tolist() == chosen["object"].tolist()
    seen = []
    for name, model in list_models(ws).items():
        stored = np.load(plan_images(ws, name, model, chosen).get().folder / "generated_images.npy")
        for index, item in enumerate(chosen["id"]):
            rngs = [generator(ws.seed, "accuracy.sample", index)]
            _, image = sample_from(ws, model.load(), rngs, ws.data.train.condition(np.array([item])))
            own = ((image[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
            assert np.abs(stored[index] - own).max() < 1
        seen.append(stored.astype(int))
    assert len(seen) == 3 and all(np.abs(seen[0] - other).max() > 3 for other in seen[1:])


def test_images_of_a_cell_are_of_different_items_and_their_order_is_in_the_address(folder: Path) -> None:
    ws = library.compose([*GLYPHS, "method=random", "accuracy.images=150", f"paths.outputs={folder}/outputs"])
    assert ws.accuracy is not None
    chosen = choose_items(ws, ws.accuracy)
    items = ws.data.train.items
    repeated = 0
    for (style, name), cell in chosen.groupby(["style", "object"]):
        members = len(items[(items["family"] == style) & (items["object"] == name)])
        assert len(cell) == 150 and cell["id"].nunique() == min(members, 150)
        repeated += members < 150
    assert repeated
    model = list_models(ws)["F1"]
    tables = [chosen[:1], chosen.iloc[[0, 0]], chosen.iloc[[0, 1]], chosen.iloc[[1, 0]]]
    assert len({plan_images(ws, "F1", model, table).address for table in tables}) == 4


def test_classifiers_learn_images_as_the_codec_gives_them_back(tmp_path: Path) -> None:
    save_vae(tmp_path / "vae")
    latent = ["codec=vae", f"codec.weights={tmp_path}/vae", "model.patch=2", "diffusion.sigma_data=1"]
    given = [*GLYPHS, *latent, "method=random", f"paths.outputs={tmp_path}/outputs"]
    ws = library.compose(given)
    assert ws.accuracy is not None
    setting, split = open_classifier_setting(ws, ws.accuracy), ws.data.train
    ids = np.array([3, 100, 7])
    expected = ws.codec.decode(split.x(ids), 1)
    assert (setting.data.train.images(ids) - expected).abs().max() < 1 / 127
    assert (expected - split.images(ids)).abs().max() > 0.1
    plain = library.compose([*given, "accuracy.decoded=false"])
    assert plain.accuracy is not None and open_classifier_setting(plain, plain.accuracy).data is plain.data
    addresses = [
        each.accuracy.style_classifier.plan(open_classifier_setting(each, each.accuracy)).address
        for each in (ws, plain)
    ]
    assert addresses[0] != addresses[1]
    plans = [plan_accuracy(ws), plan_accuracy(plain)]
    assert plans[0] is not None and plans[1] is not None and plans[0].address != plans[1].address
    assert plain.accuracy.style_classifier.plan(plain.setting()).address == addresses[1]


def test_styles_alone_are_told_apart_where_no_field_says_what_the_objects_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    styles_alone = [setting for setting in GLYPHS if not setting.startswith(("accuracy.objects", "accuracy.object_"))]
    styles_alone += ["accuracy.object_classifier=null", "accuracy.images=2", "until=generate", "method=random"]
    described: list[str] = []

    def track(items: Any, description: str, total: int) -> Any:
        described.append(description)
        return items

    monkeypatch.setattr(accuracy, "track", track)
    done = tdattr(*styles_alone, folder=folder)
    assert described == ["Generating for the accuracies, F1"]
    assert "4 images of F1" in done.stderr and "object" not in done.stderr.lower()
    table = pd.read_csv(newest(folder) / "accuracy.csv")
    assert table["group"].tolist() == FAMILIES and set(table) == {"group", "f1_ua", "f1_ira"}
    refused = tdattr(*styles_alone, "accuracy.objects=3", folder=folder, check=False)
    assert "accuracy.objects=3 has no effect with accuracy.object_classifier=null" in " ".join(refused.stderr.split())


def test_a_classifier_that_guesses_is_a_warning(folder: Path) -> None:
    done = tdattr(*GLYPHS, "accuracy.style_classifier.steps=1", "method=random", "until=generate", folder=folder)
    [warning] = [line for line in done.stderr.splitlines() if "The style classifier names" in line]
    assert "so that UA and IRA say nothing: raise accuracy.style_classifier.steps" in warning
    assert json.loads((newest(folder) / "accuracy.json").read_text())["warnings"][0] in warning


@pytest.mark.slow
def test_workers_share_the_models(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one waits with the images of its first model until the other one has those of another, or is at it."""
    shared: list[object] = []
    deadline = time.monotonic() + 300

    def sample(*values: Any) -> Any:
        while not shared and time.monotonic() < deadline:
            shared.extend(holders(tmp_path, "prompted_images") - {os.getpid()})
            shared.extend(tmp_path.glob("outputs/artifacts/prompted_images/[!.]*"))
            time.sleep(0.02)
        return sample_from(*values)

    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "sample_from", sample)
        tdattr("method=logo", *GLYPHS, "workers=2", folder=tmp_path)
    assert shared
    tdattr("method=logo", *GLYPHS, folder=folder)
    assert summary(tmp_path) == summary(folder)


@pytest.mark.parametrize("kind", ["style", "object"])
def test_missing_weights_are_said_before_the_dataset_is_prepared(kind: str, tmp_path: Path) -> None:
    weights = f"accuracy.{kind}_classifier.weights={tmp_path}/nowhere"
    done = tdattr("method=random", "until=generate", *GLYPHS, weights, folder=tmp_path, check=False)
    assert done.returncode == 1 and f"`weights` of extractor {kind}_classifier" in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("outputs/artifacts/dataset/*"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("accuracy.object_classifier.by=nothing", "accuracy.object_classifier.by=nothing is neither a field"),
        ("accuracy.style_classifier.weights={}/model.safetensors", "model.safetensors holds no weights of test_resnet"),
    ],
)
def test_what_cannot_be_learned_is_said_before_the_dataset_is_prepared(
    override: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    arguments = ["method=random", "until=generate", *GLYPHS, override.format(tmp_path)]
    done = tdattr(*arguments, folder=tmp_path, check=False)
    assert done.returncode == 1 and words in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("outputs/artifacts/dataset/*"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset.text=null", "dataset.source.condition=none"], "accuracy needs a model that is told what to show"),
        (
            ["dataset.text=null", "dataset.source.condition=family"],
            "needs a model that is told the object: items",
        ),
        (
            ["dataset.text=null", "dataset.source.condition=object"],
            "needs a model that is told the style: items",
        ),
        (["accuracy.style_classifier.by=object"], "must be dataset.groups=family, whose groups are forgotten"),
        (["accuracy.objects=1"], "needs two styles and two objects, of which 2 and 1 are there"),
        (["accuracy.style_classifier.held_out=1"], "held_out=1.0 must be above 0 and below 1"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(overrides: list[str], words: str, tmp_path: Path) -> None:
    done = tdattr("method=random", "until=generate", *GLYPHS, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))
