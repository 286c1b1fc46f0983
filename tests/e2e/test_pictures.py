"""A folder of somebody's own pictures: files keep their names in everything that a run leaves."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from tdattr.tables import read_frame, read_table
from tests.e2e.console import TINY, tdattr

SMALL = [
    *(setting for setting in TINY if "dataset" not in setting),
    "dataset=image_folder",
    "dataset.source.root=$PICTURES",
    "dataset.source.resolution=8",
    "dataset.source.unreadable=skip",
    "method=pixel",
    "protocol.k=2",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of cats and dogs, of which one is no picture."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for group in ("cats", "dogs, big"):
        (folder / "pictures" / group).mkdir(parents=True)
        for number in range(15):
            picture = Image.fromarray(rng.integers(256, size=(10, 8, 3), dtype=np.uint8))
            picture.save(folder / "pictures" / group / f"{number:02}.png")
    (folder / "pictures" / "cats" / "03.png").write_text("no picture")
    return folder


def test_files_keep_their_names(place: Path) -> None:
    pictures = {"PICTURES": str(place / "pictures")}
    run = tdattr(*SMALL, "remove.ids=[0,cats/01.png]", folder=place, **pictures)
    assert "Images that cannot be read are left out: 1, listed in " in run.stdout + run.stderr
    folder = next(place.glob("outputs/runs/*/summary.json")).parent
    summary = json.loads((folder / "summary.json").read_text())
    artifacts = {role: place / "outputs" / "artifacts" / name for role, name in summary["artifacts"].items()}
    names = read_frame(artifacts["dataset"] / "train_items.csv")["name"]
    assert summary["num_items"] == len(names) - 2
    assert "auto" not in yaml.safe_load((folder / "config.yaml").read_text())["dataset"]["recipe"].values()
    assert names.tolist()[:3] == ["cats/00.png", "cats/01.png", "cats/02.png"] and "cats/03.png" not in set(names)
    (problem,) = read_table(artifacts["dataset"] / "unreadable.csv")["problem"]
    assert "cats/03.png cannot be read as an image" in problem
    assert set(read_frame(artifacts["queries"] / "queries.csv")["name"]) <= {"cats/09.png", "dogs, big/09.png"}
    listed = read_table(folder / "attributions.csv")
    assert list(listed) == ["query", "rank", "id", "score", "name"] and len(listed) == 3 * 20
    assert listed["name"].tolist() == names[listed["id"]].tolist()
    assert not set(listed["name"]) & {"cats/00.png", "cats/01.png"}
    table = pd.read_parquet(folder / "scores.parquet")
    assert len(table) == 3 * summary["num_items"]
    assert {Path(path).relative_to(place / "pictures").as_posix() for path in table["item_path"]} == (
        set(names) - {"cats/00.png", "cats/01.png"}
    )
    assert all(Image.open(path).size == (8, 10) for path in table["item_path"].unique())
    assert table["query_path"].isna().all()
    assert table["query_caption"].unique().tolist() == [f"query {query}" for query in range(3)]  # unconditional
    tdattr(folder=place, command="report")
    page = (place / "outputs" / "report" / "index.html").read_text()
    assert f'"label":"id {listed["id"][0]}: {listed["name"][0]}, ' in page
    noisy = ["noise.moved=2", "noise.block=1", "manifest=noisy.csv"]
    tdattr(*(s for s in SMALL if s.startswith("dataset")), *noisy, folder=place, command="groups", **pictures)
    assert read_frame(place / "noisy.csv")["name"].tolist() == names.tolist()
