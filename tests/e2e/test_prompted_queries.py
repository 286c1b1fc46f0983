"""Queries from prompts that are no items of the dataset."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import tdattr
from tdattr.pipeline.generate import generate, generation_config, load_queries, query_items, sample
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import query_generator
from tdattr.seeding import generator
from tests.e2e.console import TINY
from tests.e2e.console import tdattr as command
from tests.features.words import NODE, Words

GLYPHS = [
    *(setting for setting in TINY if not setting.startswith(("dataset=", "queries"))),
    "dataset=glyph_digits",
    f"dataset.text={NODE}",
    "queries.controls=0",
    "until=generate",
]
ROWS = [{"prompt": "a bold 4", "style": "bold"}, {"prompt": "a thin 9", "style": "thin"}, {"prompt": "x", "style": "x"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (folder / "prompts.txt").write_text("a bold 4\na thin 9\n")
    return folder


def workspace(folder: Path, *overrides: str) -> Workspace:
    return tdattr.compose([*GLYPHS, f"paths.outputs={folder}/outputs", *overrides])


def test_each_comes_from_its_own_prompt_and_seed(folder: Path) -> None:
    where = "queries.where={style: [bold, thin]}"
    ws = workspace(folder, f"queries.prompts={folder}/prompts.jsonl", where, "queries.attributed=2")
    f1 = train(ws)
    queries = load_queries(ws, generate(ws, f1))
    prompts = ["a bold 4", "a thin 9"]
    expected = torch.from_numpy(Words().load(torch.device("cpu"))(prompts))
    assert queries.conditions is not None and torch.equal(queries.conditions, expected)
    assert queries.items["prompt"].tolist() == prompts and queries.items["style"].tolist() == ["bold", "thin"]
    for index in range(2):
        x, _ = sample(ws, f1, [query_generator(ws.seed, index)], expected[[index]])
        torch.testing.assert_close(queries.x[[index]], x, rtol=1e-4, atol=1e-4)
    plain = workspace(folder, "queries.attributed=2")
    assert train(plain).address == f1.address  # the same F1
    assert generate(plain, f1).address != generate(ws, f1).address
    again = workspace(folder, f"queries.prompts={folder}/prompts.txt", "queries.attributed=2")
    assert torch.equal(load_queries(again, generate(again, f1)).x, queries.x)


def test_of_more_prompts_than_are_attributed_some_are_drawn_as_items_are(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And not the first of a file, which may be sorted by style."""
    styles = [style for style in "abcd" for _ in range(6)]
    prompts = [f"{style} {number}" for number, style in enumerate(styles)]
    (tmp_path / "sorted.txt").write_text("\n".join(prompts))

    def open_with(attributed: int, controls: int = 0, seed: int = 1) -> Workspace:
        sizes = [f"queries.attributed={attributed}", f"queries.controls={controls}", f"seed={seed}"]
        return workspace(folder, f"queries.prompts={tmp_path}/sorted.txt", *sizes)

    def chosen(ws: Workspace) -> list[str]:
        items = ws.query_split.items.iloc[query_items(ws)]
        return items["prompt"].tolist()

    with caplog.at_level("INFO"):
        ws = open_with(8, 4)
    words = "queries.attributed=8 draws from the 24 prompts (seed=1); queries.attributed=24 takes all of them."
    assert words in caplog.text
    order = generator(1, "queries").permutation(24)[:12]
    assert chosen(ws) == [prompts[index] for index in order]
    assert len({prompt[0] for prompt in chosen(ws)[:8]}) > 1
    assert chosen(open_with(8, 4, seed=2)) != chosen(ws)
    caplog.clear()
    with caplog.at_level("INFO"):
        assert chosen(open_with(24, 2)) == [*prompts, *prompts[:2]]
    assert "26 queries take their prompts from 24, in the order of the file" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        assert chosen(open_with(24)) == prompts
    assert "prompts" not in caplog.text
    config, kept = (generation_config(each) for each in (ws, open_with(24)))
    assert config["drawn"] and "drawn" not in kept  # whose address is what it was


def test_one_prompt_for_all(folder: Path) -> None:
    command(*GLYPHS, "queries.prompt=a bold 4", "queries.attributed=3", folder=folder)
    table = pd.read_csv(max(folder.glob("outputs/artifacts/generate/*/queries.csv"), key=lambda p: p.stat().st_mtime))
    assert table["prompt"].tolist() == ["a bold 4"] * 3 and set(table["role"]) == {"attributed"}
    images = load_file(max(folder.glob("outputs/artifacts/generate/*/*.safetensors"), key=lambda p: p.stat().st_mtime))
    assert not torch.equal(images["x"][0], images["x"][1])  # each from its own seed


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["queries.prompts=nowhere.txt"], "nowhere.txt does not exist"),
        (["queries.prompts=prompts.txt", "queries.prompt=a"], "prompt are both given: set queries.prompts=null, or"),
        (["queries.prompt=' '"], "queries.prompt is empty"),
        (["queries.prompts=gap.txt"], "gap.txt, line 2, is empty: take it out, or write a prompt on each line"),
        (["queries.prompt=a", "dataset.text=null"], "need a model whose conditions are made of prompts"),
        (["queries.where={style: [bold]}"], "has no effect with queries.prompts=null: leave it out"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(
    overrides: list[str], words: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text((folder / "prompts.txt").read_text())
    (tmp_path / "gap.txt").write_text("a bold 4\n\na thin 9\n")
    done = command(*GLYPHS, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))
