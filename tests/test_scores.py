"""Scores: their order, their table, and the way to a folder and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tdattr.scores import LISTED, Scores, Twins, load_scores, save_scores
from tdattr.store import Artifact

IDS = np.array([10, 20, 30, 40, 50])  # ids are not places
VALUES = torch.tensor([[0.1, 0.7, 0.7, -5.0, 0.9], [0.0, 0.0, 0.0, 0.0, 0.0]])
ERRORS = torch.tensor([[0.01, 0.02, 0.03, 0.04, 0.05], [0.1, 0.2, 0.3, 0.4, 0.5]])
NAMES = ["b", "a", "7", "c", "d"]


def round_trip(scores: Scores, folder: Path) -> Scores:
    save_scores(scores, folder)
    return load_scores(Artifact("attribute", "abc", folder))


def same(first: Tensor | None, second: Tensor | None) -> bool:
    return first is second is None or (first is not None and second is not None and torch.equal(first, second))


def test_the_highest_come_first_and_ties_in_the_order_of_the_ids() -> None:
    assert Scores(VALUES, IDS).top(3).tolist() == [[50, 20, 30], [10, 20, 30]]


def test_the_table_has_the_best_of_every_query() -> None:
    table = Scores(VALUES, IDS).table(3)
    assert list(table) == ["query", "rank", "id", "score"]
    assert table["query"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert table["id"].tolist() == Scores(VALUES, IDS).top(3).ravel().tolist()
    assert table["score"].tolist() == pytest.approx([0.9, 0.7, 0.7, 0, 0, 0])
    assert len(Scores(VALUES, IDS).table()) == 2 * 5  # no more than there are
    assert len(Scores(torch.rand(2, 30), np.arange(30)).table()) == 2 * 8


def test_the_lowest_follow_the_highest_with_their_ranks() -> None:
    values = torch.tensor([[0.5, -3.0, 2.0, 0.0, -1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    scores = Scores(values, np.array([10, 11, 12, 13, 14]))
    table = scores.table(2, lowest=2)
    assert table["id"].tolist() == [12, 10, 14, 11, 14, 13, 11, 10]
    assert table["rank"].tolist() == [1, 2, 4, 5] * 2
    assert table["score"].tolist()[:4] == [2.0, 0.5, -1.0, -3.0]
    assert scores.table(4, lowest=4)["rank"].tolist() == [1, 2, 3, 4, 5] * 2  # each once
    assert replace(scores, decided=2).table(2, lowest=2)["rank"].tolist() == [1, 2] * 2  # the others are not known


def test_the_table_has_standard_errors_beside_the_scores_that_they_belong_to() -> None:
    table = Scores(VALUES, IDS, standard_errors=ERRORS).table(3)
    assert list(table) == ["query", "rank", "id", "score", "standard_error"]
    assert table["standard_error"].tolist() == pytest.approx([0.05, 0.02, 0.03, 0.1, 0.2, 0.3])


def test_what_is_no_score_is_in_no_table(tmp_path: Path) -> None:
    scores = round_trip(Scores(torch.rand(2, 30), np.arange(30), decided=12), tmp_path)
    assert scores.decided == 12 and scores.top(12).shape == (2, 12) and scores.top(LISTED).shape == (2, LISTED)
    assert len(scores.table(20)) == 2 * LISTED
    for k in (9, 13, 30):
        with pytest.raises(
            ValueError, match=rf"^which are the 12 highest scores of every query is known, not which {k}"
        ):
            scores.top(k)


def test_the_table_of_groups_has_their_names() -> None:
    table = Scores(VALUES, IDS, groups=NAMES, standard_errors=ERRORS).table(2)
    assert list(table) == ["query", "rank", "group", "score", "standard_error"]
    assert table["group"].tolist() == ["d", "a", "b", "a"]
    assert table["standard_error"].tolist() == pytest.approx([0.05, 0.02, 0.1, 0.2])


def test_groups_may_be_fewer_than_the_items() -> None:
    groups = ["one", "two"]
    scores = Scores(torch.tensor([[1.0, 2.0]]), IDS, groups=groups)
    assert scores.table()["group"].tolist() == ["two", "one"]


def test_items_are_named() -> None:
    items = pd.DataFrame({"id": range(60), "name": [f"{index}.png" for index in range(60)]})
    table = Scores(VALUES, IDS).table(items=items)
    assert table["name"].tolist() == [f"{index}.png" for index in table["id"]]
    assert "name" not in Scores(VALUES, IDS).table(items=items.drop(columns="name"))
    assert "name" not in Scores(VALUES, IDS, groups=NAMES).table(items=items)


def test_several_dampings_have_no_one_order() -> None:
    scores = Scores(torch.rand(2, 3, 5), IDS, dampings=[0.1, 1.0, 10.0])
    with pytest.raises(ValueError, match="no one order"):
        scores.table()
    assert "Scores(" in scores._repr_html_()


def test_a_notebook_shows_the_table() -> None:
    shown = Scores(VALUES, IDS, standard_errors=ERRORS)._repr_html_()
    assert shown.count("<tr") == 1 + 2 * 5 and "<td>50</td>" in shown and "<th>standard_error</th>" in shown


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("kind", ["items", "groups", "dampings"])
def test_scores_come_back_as_they_were_saved(tmp_path: Path, kind: str, errors: bool) -> None:
    values = torch.rand(2, 3, 5) if kind == "dampings" else VALUES
    scores = Scores(
        values,
        IDS,
        dampings=[0.1, 1.0, 10.0] if kind == "dampings" else None,
        groups=NAMES if kind == "groups" else None,
        standard_errors=values / 7 if errors else None,
    )
    found = round_trip(scores, tmp_path)
    assert torch.equal(found.values, scores.values) and found.values.dtype == torch.float32
    assert np.array_equal(found.ids, IDS)
    assert (found.dampings, found.groups) == (scores.dampings, scores.groups)
    assert same(found.standard_errors, scores.standard_errors)


def test_twins_stand_beside_the_scores_and_pairs_come_once(tmp_path: Path) -> None:
    twins = Twins(torch.tensor([[30, 40, 10, 20, 10]]), torch.tensor([[1.0, 0.5, 1.0, 0.4, 0.2]]))
    scores = round_trip(Scores(VALUES[:1], IDS, twins=twins), tmp_path)
    table = scores.table(3)
    assert list(table) == ["query", "rank", "id", "score", "twin", "shared"]
    assert table["id"].tolist() == [50, 20, 30] and table["twin"].tolist() == [10, 40, 10]
    assert table["shared"].tolist() == pytest.approx([0.2, 0.5, 1.0])
    assert scores.pairs() == [(10, 30, 1.0), (20, 40, 0.5), (10, 50, pytest.approx(0.2))]
    assert len(scores.pairs(2)) == 2
    with pytest.raises(TypeError, match="not those of items for themselves"):
        Scores(VALUES, IDS).pairs()
