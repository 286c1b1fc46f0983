"""A planted wrong label and a planted duplicate come out on top, of a model that was really trained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tdattr as library
from tdattr.pictures import to_uint8
from tests.e2e.console import TINY, tdattr

SIZE = [
    "train=smooth", "train.epsilon=1e-8", "train.batch_size=32", "train.steps=700", "train.learning_rate=4e-3",
    "model.patch=16", "model.blocks=1", "model.heads=2", "trainer.threads=1",
]  # fmt: skip
DATA = [
    "dataset=image_folder", "dataset.source.root=planted", "recipe@dataset.recipe=cpu_short",
    "dataset.source.resolution=16", "dataset.source.channels=1", "dataset.source.condition=group",
    "dataset.source.held_out=0",
]  # fmt: skip
ITSELF = [*DATA, *SIZE, "protocol=none", "method.self=true", "method.gradients.draws=30"]
SMALL = ["method.gradients.projection.dimension=512"]
WRONG, COPY, ORIGINAL = "0/wrong.png", "2/copy.png", "2/040.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``planted`` has three digits in 19 typefaces: one picture has a wrong label, and one is there twice."""
    folder = tmp_path_factory.mktemp("planted")
    split = library.compose(["dataset=glyph_digits", *TINY[2:], f"paths.outputs={folder}/prepared"]).data.train
    for index, picture in enumerate(to_uint8(split.images(np.arange(3 * 19)))):
        paths = [f"{index // 19}/{index:03d}.png"]
        paths = [WRONG] if index == 25 else [*paths, COPY] if paths == [ORIGINAL] else paths
        for path in paths:
            (folder / "planted" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "planted" / path)
    return folder


@pytest.fixture(scope="module", params=["tracin", "trak", "dtrak", "das"])
def run(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Path, str]:
    """A method, the folder of its run, and what was printed."""
    done = tdattr(f"method={request.param}", *ITSELF, *SMALL, "hydra.run.dir=run", folder=folder)
    return request.param, folder / "run", done.stderr


def test_what_was_planted_comes_out_on_top(run: tuple[str, Path, str]) -> None:
    method, folder, said = run
    table = pd.read_csv(folder / "attributions.csv")
    assert list(table) == ["query", "rank", "id", "score", "name", "twin", "shared"] and len(table) == 3 * 19 + 1
    assert WRONG in table["name"].head(2).tolist()
    names = dict(zip(table["id"], table["name"], strict=True))
    closest = table.sort_values("shared", ascending=False).head(2)
    assert {*closest["name"]} == {*closest["twin"].map(names)} == {COPY, ORIGINAL}
    assert closest["shared"].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert table["shared"].sort_values().iloc[-3] < 0.99
    copied = table[table["name"].isin([COPY, ORIGINAL])]
    assert copied["rank"].min() > len(table) / 3  # a copy does what the other does: neither is missed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["itself"]["pairs"][0]["named"] == f"{ORIGINAL} and {COPY}"
    assert summary["itself"]["highest"][0]["named"] == table["name"][0]
    assert summary["far_queries"] is None and summary["num_queries"] == 1
    assert f"{method}, depend most on themselves: {table['name'][0]}" in said
    assert f"{method}, share most, of 1: {ORIGINAL} and {COPY} 1," in said
    assert "per query" not in said and "Generating" not in said


def test_the_library_has_a_row_and_the_report_a_table(run: tuple[str, Path, str], folder: Path) -> None:
    method, _, _ = run
    root = [f"dataset.source.root={folder}/planted", f"paths.outputs={folder}/outputs"]
    ws = library.compose([f"method={method}", *ITSELF, *SMALL, *root])
    scores = library.attribute(ws)
    assert scores.values.shape == (1, 3 * 19 + 1) and scores.twins is not None
    assert scores.table().columns.tolist() == ["query", "rank", "id", "score", "twin", "shared"]
    assert len(library.generate(ws)) == 1
    said = tdattr("run", "--out", "report", folder=folder, command="report").stdout
    assert "What depends on itself" in said and "What is named first" not in said
    assert f"{ORIGINAL} and" in said.replace("\n", " ")
    assert "how much every training item depends on itself" in (folder / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=das", "method.self=true", "protocol=lds"], "protocol=lds judges what pictures depend on"),
        (["method=tracin", "method.self=true"], "use protocol=none"),
        (["method=trak", "method.self=true", "protocol=none", "queries.attributed=3"], "has no effect with"),
        (["method=trak", "method.self=true", "protocol=none", "queries.seeds=[1,2]"], "asks about no pictures"),
        (["method=pixel", "protocol=none", "queries.explained=itself"], "goes with method.self=true"),
        (["method=pixel", "protocol=none", "method.self=true"], "method.self"),
        (["method=gradient_cosine", "protocol=none", "+method.self=true"], "of every item's gradient with itself is 1"),
        (["method=das", "method.self=true", "protocol=none", "method.damping=grid"], "give one value here"),
        (["method=ensemble_c", "method.members.dtrak.self=true", "protocol=none"], "method.members.dtrak.self=true"),
    ],
)
def test_what_it_does_not_go_with_is_refused(overrides: list[str], words: str, tmp_path: Path) -> None:
    done = tdattr(*[one for one in TINY if not one.startswith("queries")], *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1 and words in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/*/*"))  # not even the dataset
