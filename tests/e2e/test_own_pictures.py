"""A user's own pictures are explained: nothing is generated, and what is named first is the picture itself."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tdattr
from tdattr.pipeline.generate import generate, load_queries
from tdattr.pipeline.train import train
from tdattr.queries import Queries
from tdattr.tables import read_table
from tests.e2e.console import TINY
from tests.e2e.console import tdattr as command
from tests.features.words import NODE

PLAIN = [setting for setting in TINY if not setting.startswith("queries")]
ITEMS = (3, 40, 700)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits as files, named by what they show."""
    folder = tmp_path_factory.mktemp("own")
    ws = tdattr.compose([*PLAIN, f"paths.outputs={folder}/outputs", "method=pixel", "queries.controls=0"])
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, item in enumerate(ITEMS):
        pixels = np.asarray(ws.data.train.pixels[item])[..., 0]
        Image.fromarray(pixels).save(pictures / f"{ws.data.train.items['label'][item]}_{number}.png")
    return folder


def run(folder: Path, *overrides: str, check: bool = True) -> tuple[str, dict]:
    """What a command says, and its summary."""
    before = set(folder.glob("outputs/runs/*/summary.json"))
    said = command(*PLAIN, "queries.images=pictures", *overrides, folder=folder, check=check).stderr
    new = set(folder.glob("outputs/runs/*/summary.json")) - before
    return said, json.loads(new.pop().read_text()) if new else {}


def test_a_training_item_is_found_by_its_picture(folder: Path) -> None:
    said, summary = run(folder, "method=pixel", "protocol=none")
    assert summary["num_queries"] == 3 and summary["protocol"] == "none"
    assert len(summary["pictures"]) == 3 and "3 pictures to be explained" in said
    (path,) = (folder / "outputs" / "artifacts" / "evaluate").glob(
        f"{summary['artifacts']['evaluation'][9:]}/queries.csv"
    )
    named = dict(pd.read_csv(path, dtype=str)[["label", "named"]].to_numpy())
    assert {name.partition("_")[2]: int(item) for name, item in named.items()} == {
        f"{number}.png": item for number, item in enumerate(ITEMS)
    }
    assert not list((folder / "outputs" / "artifacts").glob("generate*"))  # F1 generated nothing
    assert all(0 <= each["share_below"] <= 1 and each["beyond"] is not None for each in summary["pictures"])
    (path,) = folder.glob("outputs/runs/*/scores.parquet")
    first = pd.read_parquet(path).query("rank == 1")
    found = {Path(row.query_path): row.item for row in first.itertuples()}
    assert {path.name.partition("_")[2]: item for path, item in found.items()} == {
        f"{number}.png": item for number, item in enumerate(ITEMS)
    }
    assert all(path.is_absolute() and path.is_file() for path in found)
    assert first["query_caption"].tolist() == [path.name for path in found]
    for number, item in enumerate(ITEMS):
        assert f"shown as '{label_of(folder, item)}', by its name" in said, number


def label_of(folder: Path, item: int) -> str:
    """The digit that the picture of an item shows."""
    number = ITEMS.index(item)
    return next(path.name for path in (folder / "pictures").iterdir() if path.stem.endswith(f"_{number}"))[0]


def test_pictures_are_compared_with_what_was_held_out_or_with_nothing(folder: Path) -> None:
    """Never with training items, whose losses are lower."""
    alone = ["method=pixel", "protocol=none", "dataset.source.held_out=0"]
    said, summary = run(folder, *alone)
    assert all(picture["beyond"] is picture["share_below"] is None for picture in summary["pictures"])
    again, _ = run(folder, *alone)  # nothing is computed
    assert [text.count("is not judged by their losses") for text in (said, again)] == [1, 1]
    assert any("not judged" in text for text in summary["warnings"])
    _, summary = run(folder, *alone, "remove.ids=[5,6,7,8]")
    assert all(picture["share_below"] in (0, 0.25, 0.5, 0.75, 1) for picture in summary["pictures"])
    assert all(picture["beyond"] is not None for picture in summary["pictures"])


def test_a_condition_comes_from_the_item_that_has_it(folder: Path) -> None:
    places = [f"paths.outputs={folder}/outputs", f"queries.images={folder}/pictures", "protocol=none", "method=pixel"]
    ws = tdattr.compose([*PLAIN, *places])
    table = read_table(generate(ws, train(ws)).get().folder / "queries.csv", ["shown"])
    labels = ws.data.train.items["label"].astype(str)
    assert [labels[item] for item in table["condition_from"]] == table["shown"].tolist()
    assert [name[0] for name in table["name"]] == table["shown"].tolist()


def test_pictures_are_planned_as_they_are_run(folder: Path) -> None:
    """Also where conditions are prompts, whose conditions are not stored yet."""
    words = [f"dataset.text={NODE}", "queries.prompt=a bold 4", "dataset=glyph_digits"]
    plain = [setting for setting in PLAIN if not setting.startswith("dataset")]
    before = set(folder.rglob("*"))
    for given in (words, [*words[:1], words[2], "queries.captions=shown.csv"]):
        names = [path.name for path in sorted((folder / "pictures").iterdir())]
        (folder / "shown.csv").write_text("file,caption\n" + "".join(f"{name},a thin 9\n" for name in names))
        pictures = ["queries.images=pictures", "method=pixel", "protocol=none", "plan=true"]
        said = command(*plain, *given, *pictures, folder=folder).stdout
        stages = {line.split()[0] for line in said.splitlines() if line.strip()}
        assert {"pictures", "plausibility"} <= stages and "generate" not in stages, said
    built = {path.relative_to(folder) for path in set(folder.rglob("*")) - before}
    assert built <= {Path("shown.csv")}


def test_networks_are_told_what_the_names_say(folder: Path) -> None:
    places = [f"paths.outputs={folder}/outputs", f"queries.images={folder}/pictures", "protocol=none", "method=pixel"]
    ws = tdattr.compose([*PLAIN, *places])
    queries = load_queries(ws, generate(ws, train(ws)))
    by_name = dict(zip(queries.labels, range(3), strict=True))
    for number, item in enumerate(ITEMS):
        row = by_name[f"{ws.data.train.items['label'][item]}_{number}.png"]
        assert queries.conditions is not None and ws.data.train.condition(np.array([item])) is not None
        assert torch.equal(queries.conditions[row], ws.data.train.condition(np.array([item]))[0])  # type: ignore[index]
        torch.testing.assert_close(queries.images[row], ws.data.train.images(np.array([item]))[0])
    other = tdattr.compose([*PLAIN, *places, "queries.condition=5"])
    again = load_queries(other, generate(other, train(other)))
    assert again.conditions is not None and len(again.conditions.unique(dim=0)) == 1
    assert generate(other, train(other)).address != generate(ws, train(ws)).address


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["protocol=leave_k_out", "method=pixel"], "protocol=leave_k_out generates the queries again"),
        (["protocol=none", "method=journey_trak"], "method=journey_trak looks at how a query was generated"),
        (
            ["protocol=none", "method=metagradient", "output@method.output=pixels"],
            "not known of your pictures: leave output@method.output=loss, or choose elbo.",
        ),
        (
            [
                "protocol=none",
                "method=ensemble_c",
                "method@method.members.dtrak=journey_trak",
                "method.weights.dino=0",
                "method.weights.clip=0",
            ],
            "method=journey_trak looks at how a query was generated",
        ),
        (["protocol=none", "method=pixel", "queries.attributed=2"], "has no effect with queries.images"),
        (["protocol=none", "method=pixel", "queries.condition=seven"], "choose among 0, 1, 2"),
        (["protocol=none", "method=pixel", "queries.explained=controls"], "has no effect with queries.images"),
        (
            ["protocol=none", "method=condition", "method.labels=label", "dataset.source.condition=none"],
            "method.labels=label is not known of the queries",
        ),
    ],
    ids=["protocol", "method", "output", "member", "number", "condition", "controls", "labels"],
)
def test_what_cannot_be_is_said_before_anything_is_trained(folder: Path, overrides: list[str], reason: str) -> None:
    said, summary = run(folder, *overrides, check=False)
    assert reason in said and not summary and "Training" not in said


def test_a_picture_that_cannot_be_read_is_found_before_the_data_are_prepared(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("no picture")
    chosen = [f"queries.images={tmp_path}/1.png", f"paths.outputs={tmp_path}/outputs", "method=pixel", "protocol=none"]
    said = command(*PLAIN, *chosen, folder=tmp_path, check=False).stderr
    assert "1.png cannot be read as an image" in said.splitlines()[-1]
    assert not list((tmp_path / "outputs").glob("artifacts/dataset/*"))


def test_seeds_and_conditions_choose_what_is_generated(folder: Path) -> None:
    def make(*overrides: str) -> Queries:
        given = [*PLAIN, f"paths.outputs={folder}/outputs", "protocol=none", "method=pixel"]
        ws = tdattr.compose([*given, *overrides])
        return load_queries(ws, generate(ws, train(ws)))

    usual = make("queries.conditions=[3]", "queries.attributed=4", "queries.controls=0")
    chosen = make("queries.conditions=[3]", "queries.seeds=[2,0]")
    torch.testing.assert_close(chosen.images, usual.images[[2, 0]], rtol=1e-4, atol=1e-4)
    other = make("queries.conditions=[3,8]", "queries.seeds=[2,0]")
    torch.testing.assert_close(other.images[0], chosen.images[0], rtol=1e-4, atol=1e-4)
    assert other.conditions is not None and chosen.conditions is not None
    assert torch.equal(other.conditions[0], chosen.conditions[1]) and not torch.equal(*other.conditions)
    assert other.items["label"].tolist() == ["3", "8"] and other.address != chosen.address


@pytest.mark.slow
def test_what_is_named_is_removed_and_the_losses_compared(folder: Path) -> None:
    """And what is stored is not computed again."""
    settings = ["method=pixel", "protocol=removal_loss", "protocol.k=20", "protocol.draws=8", "protocol.randoms=2"]
    said, summary = run(folder, *settings)
    assert "Retraining 3 of 3" in said and summary["removed"] <= 60
    assert {"mean", "low", "high"} == summary["excess_percent"].keys()
    assert any("fewer than 10: raise the number of pictures" in warning for warning in summary["warnings"])
    again, same = run(folder, *settings)
    assert "nothing was computed" in again and same == summary
