"""What the viewer is told of an experiment: its queries, what they are called, groups, and verdicts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tdattr.report.album import Album
from tdattr.report.catalogue import Catalogue
from tdattr.report.collect import collect
from tdattr.report.outcomes import OUTCOMES
from tdattr.scores import Scores, save_scores
from tdattr.tables import read_frame, write_table
from tests.report.outputs import ITEMS, QUERIES, Outputs
from tests.report.pictured import add_pictures, artifact

GROUPS = ("thin", "wide", "plain")
AGGREGATE = {"kind": "mean", "top": 3, "positive_only": False}


def describe(root: Path) -> dict[str, Any]:
    """What the page is told of the only experiment; nothing may be left out."""
    (experiment,) = collect([root]).experiments
    catalogue = Catalogue(experiment, Album(), list(experiment.runs))
    assert catalogue.missing == {}
    return catalogue.as_dict()


def judge_groups(outputs: Outputs, gold: np.ndarray, names: tuple[str, ...], **config: Any) -> None:
    """A run of a method that scores items, by groups; gold's groups are stored in another order than they stand in the
    items."""
    protocol = {"name": "logo", "aggregate": AGGREGATE}
    outputs.groups("pixel", 1, gold, gold, names=names, protocol=protocol, **config)
    number = outputs.count
    run = outputs.root / "runs" / f"run {number}" / "summary.json"
    text = run.read_text().replace('"artifacts": {', f'"artifacts": {{"gold": "gold/{number}", ')
    run.write_text(text)
    folder = artifact(outputs.root, f"gold/{number}")
    save_scores(Scores(torch.from_numpy(gold).float(), np.arange(ITEMS), groups=list(names)), folder)
    add_pictures(outputs, ["a glyph"], GROUPS)


def read_bars(described: dict[str, Any], query: int) -> dict[str, list[float]]:
    """The score of each group and gold's, by name."""
    (named,) = described["queries"][query]["named"].values()
    return {described["targets"][number]["group"]: rest for number, *rest in named["groups"]}


def test_of_groups_those_that_are_attributed_are_shown_beside_golds_own_column(outputs: Outputs) -> None:
    gold = np.random.default_rng(1).random((QUERIES, 2))
    gold[0] = 0, 1
    judge_groups(outputs, gold, ("wide", "thin"), attributed_groups=["thin", "wide"])
    described = describe(outputs.root)
    assert len(described["queries"]) == QUERIES
    for query in range(QUERIES):
        bars = read_bars(described, query)
        assert set(bars) == {"thin", "wide"}
        assert bars["wide"][2] == pytest.approx(gold[query, 0], rel=1e-3)
        assert bars["thin"][2] == pytest.approx(gold[query, 1], rel=1e-3)


def test_without_gold_those_groups_are_shown_that_the_config_names(outputs: Outputs) -> None:
    protocol = {"name": "truth", "aggregate": AGGREGATE}
    gold = np.random.default_rng(1).random((QUERIES, 2))
    names = ("wide", "thin")
    outputs.groups("pixel", 1, gold, gold, names=names, protocol=protocol, attributed_groups=names)
    add_pictures(outputs, ["a glyph"], GROUPS)
    assert set(read_bars(describe(outputs.root), 0)) == {"thin", "wide"}


def test_a_bar_is_made_of_the_items_that_the_model_has_seen(outputs: Outputs) -> None:
    """Of a group of which all items were removed there is none."""
    rng = np.random.default_rng(2)
    groups = np.array(GROUPS)[np.arange(ITEMS) % len(GROUPS)]
    seen = np.flatnonzero((groups != "plain") & (np.arange(ITEMS) > 2))
    judge_groups(outputs, rng.random((QUERIES, 2)), ("thin", "wide"))
    values = torch.from_numpy(rng.random((QUERIES, len(seen)))).float()
    save_scores(Scores(values, seen), outputs.root / "artifacts" / "scores" / f"{outputs.count}")
    described = describe(outputs.root)
    assert described["items"] == len(seen)
    for query in range(QUERIES):
        for name, (score, *_) in read_bars(described, query).items():
            assert score == pytest.approx(float(values[query][groups[seen] == name].mean()), rel=1e-3)
    sizes = {each["group"]: each["n"] for each in described["targets"] if each["kind"] == "group"}
    assert sizes == {"thin": 9, "wide": 9}
    assert described["methods"][0]["intervals"].startswith(
        "No intervals: a group's score is here the mean of those of all its items"
    )


@pytest.mark.parametrize(
    ("text", "images", "caption"),
    [
        ({"name": "tokens"}, "mine", "mine/0.png, prompt: a glyph"),
        (None, "mine", "mine/0.png, condition: a glyph"),
        ({"name": "tokens"}, None, "prompt: a glyph"),
    ],
)
def test_a_picture_of_ones_own_keeps_its_name(outputs: Outputs, text: Any, images: str | None, caption: str) -> None:
    config: dict[str, Any] = {"queries": {"images": images}, "dataset": {"name": "tiny", "text": text}}
    unlikely = {"picture": "mine/1.png", "loss": 1.0, "share_below": 1.0, "beyond": True, "far": False}
    pictures = [unlikely | {"picture": "mine/0.png", "beyond": False}, unlikely]
    outputs.lds("pixel", 1, summary={"pictures": pictures}, **config)
    add_pictures(outputs, ["a glyph"], GROUPS)
    path = outputs.root / "artifacts" / "queries" / f"{outputs.count}" / "queries.csv"
    table = read_frame(path)
    write_table(path, table.assign(name=[f"mine/{query}.png" for query in range(QUERIES)]))
    shown = describe(outputs.root)["queries"]
    assert shown[0]["caption"] == caption
    assert [entry.get("unlikely") for entry in shown] == [False, True] + [None] * (QUERIES - 2)


def test_without_conditions_the_item_of_the_test_split_lends_no_name(outputs: Outputs) -> None:
    outputs.run("pixel", 1)
    add_pictures(outputs, ["a glyph"], GROUPS)
    (outputs.root / "artifacts" / "dataset" / "1" / "train_conditions.npy").unlink()
    path = outputs.root / "artifacts" / "queries" / f"{outputs.count}" / "queries.csv"
    write_table(path, read_frame(path).assign(name="test.png"))
    assert describe(outputs.root)["queries"][3]["caption"] == "query 3"


def test_the_rise_of_a_pictures_loss_is_shown_beside_that_after_random_removals(outputs: Outputs) -> None:
    table = outputs.rises("pixel", 1, 0.6)
    add_pictures(outputs, ["a glyph"], GROUPS)
    described = describe(outputs.root)
    assert described["outcomes"] == OUTCOMES["removal_loss"]
    verdicts = [entry["named"][0]["verdict"] for entry in described["queries"]]
    assert [each["loss rise, %"] for each in verdicts] == pytest.approx(table["rise_percent"].tolist(), rel=1e-3)
    randoms = table["random_rise_percent"].tolist()
    assert [each["loss rise, %_random"] for each in verdicts] == pytest.approx(randoms, rel=1e-3)
    above = table["rise_percent"] > table["random_rise_most_percent"]
    assert [each["outcome"] for each in verdicts] == above.astype(int).tolist() and 0 < above.sum() < QUERIES


def outcomes(described: dict[str, Any], method: int = 0) -> list[int | None]:
    return [entry["named"][method]["verdict"].get("outcome") for entry in described["queries"]]


def test_a_removal_speaks_for_a_method_where_the_picture_changed_more_than_after_the_random_one(
    outputs: Outputs,
) -> None:
    outputs.run("random", 1)
    add_pictures(outputs, ["a glyph"], GROUPS)
    table = outputs.run("mucs", 1, 0.05)
    add_pictures(outputs, ["a glyph"], GROUPS)
    described = describe(outputs.root)
    mine = table[table.role == "attributed"]
    assert outcomes(described, 1) == (mine.ssim < mine.ssim_random).astype(int).tolist()
    assert outcomes(described, 0) == [None] * QUERIES  # nothing is claimed for it


def test_groups_speak_for_a_method_where_it_puts_golds_first(outputs: Outputs) -> None:
    gold = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [2.0, 1.0]])
    scores = np.array([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [0.5, 0.5]])
    protocol = {"name": "truth", "aggregate": AGGREGATE}
    outputs.groups("pixel", 1, gold, scores, names=("thin", "wide"), protocol=protocol)
    add_pictures(outputs, ["a glyph"], ("thin", "wide"))
    assert outcomes(describe(outputs.root)) == [1, 0, 1, 1, None, None]


def test_an_lds_above_zero_speaks_for_a_method(outputs: Outputs) -> None:
    outputs.lds("pixel", 1)
    path = outputs.root / "artifacts" / "evaluation" / f"{outputs.count}" / "queries.csv"
    values = [0.2, -0.1, 0.0, 0.3, -0.2, float("nan")]
    write_table(path, pd.DataFrame({"query": range(QUERIES), "lds": values}))
    add_pictures(outputs, ["a glyph"], GROUPS)
    assert outcomes(describe(outputs.root)) == [1, 0, 0, 1, 0, None]
