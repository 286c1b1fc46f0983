"""Scores without a verdict: what is named is said, nothing is trained, and a method may leave all but the top open."""

import numpy as np
import pandas as pd
import pytest
import torch

from tdattr.errors import UserError
from tdattr.protocols import ProtocolSetup, Verdict
from tdattr.protocols.none import PRINTED_QUERIES, ScoresOnly
from tdattr.scores import Scores, Twins
from tests.contexts import NoCounterfactuals, make_queries

IDS = np.array([4, 7, 9])


class Items(NoCounterfactuals):
    """Three training items, of which each may have a name."""

    def __init__(self, names: list[str] | None = None) -> None:
        super().__init__()
        self.names = names

    def items(self) -> pd.DataFrame:
        return pd.DataFrame({"id": IDS} | ({} if self.names is None else {"name": self.names}))


def protocol(k: int | None = None, share: float | None = None) -> ScoresOnly:
    return ScoresOnly("none", k, share)


def evaluate(protocol: ScoresOnly, scores: Scores, names: list[str] | None = None) -> Verdict:
    count = len(scores.values)
    queries = make_queries(torch.zeros(count, 1, 2, 2), pd.DataFrame({"id": range(count)}))
    return protocol.evaluate(scores, {}, queries, Items(names))


def test_the_highest_items_are_named() -> None:
    scores = Scores(torch.tensor([[0.1, 0.3, 0.2], [5.0, -1.0, 2.0]]), IDS)
    verdict = evaluate(protocol(), scores, ["a.png", "b, c.png", "d.png"])
    assert verdict.table == [
        {"query": 0, "label": "query 0", "named": "b, c.png", "score": pytest.approx(0.3)},
        {"query": 1, "label": "query 1", "named": "a.png", "score": 5.0},
    ]
    assert verdict.lines == ["query 0: b, c.png 0.3, d.png 0.2, a.png 0.1", "query 1: a.png 5, d.png 2, b, c.png -1"]
    unnamed = evaluate(protocol(2), scores)
    assert [row["named"] for row in unnamed.table] == ["7", "4"] and unnamed.summary == {"k": 2}


def test_groups_are_named_too() -> None:
    scores = Scores(torch.tensor([[0.1, 0.3]]), IDS, groups=["serif", "sans"])
    verdict = evaluate(protocol(share=0.5), scores)
    assert verdict.lines == ["query 0: sans 0.3, serif 0.1"] and verdict.summary == {}


def test_of_many_queries_some_are_printed() -> None:
    count = PRINTED_QUERIES + 3
    verdict = evaluate(protocol(), Scores(torch.rand(count, 3), IDS))
    assert len(verdict.table) == count
    assert len(verdict.lines) == PRINTED_QUERIES + 1 and verdict.lines[-1] == "and 3 more queries"


def test_how_many_of_the_highest_are_wanted() -> None:
    assert protocol(5, 0.1).top(1000) == 5 and protocol(5, 0.1).unread() == {"share": "k=5"}
    assert protocol(None, 0.02).top(1000) == 20 and protocol(None, 0.02).top(10) == 1
    assert protocol().top(1000) is None
    setup = ProtocolSetup(pd.DataFrame({"id": IDS}), pd.DataFrame(), [])
    protocol(3).check(setup)
    with pytest.raises(UserError, match="protocol.k=4 is more than the 3 training items"):
        protocol(4).check(setup)


def test_items_that_depend_on_themselves_are_told_with_their_pairs() -> None:
    twins = Twins(torch.tensor([[9, 4, 4]]), torch.tensor([[0.9, 0.2, 0.9]]))
    scores = Scores(torch.tensor([[0.1, 0.3, 0.2]]), IDS, twins=twins)
    verdict = evaluate(protocol(2), scores, ["a.png", "b.png", "c.png"])
    assert verdict.table == [{"query": 0, "label": "itself", "named": "b.png", "score": pytest.approx(0.3)}]
    assert verdict.lines == [
        "depend most on themselves: b.png 0.3, c.png 0.2, a.png 0.1",
        "share most, of 1: a.png and c.png 0.9, a.png and b.png 0.2",
    ]
    told = verdict.summary["itself"]
    assert told["highest"][0] == {"id": 7, "named": "b.png", "score": pytest.approx(0.3)}
    assert told["pairs"][0] == {"ids": [4, 9], "named": "a.png and c.png", "shared": pytest.approx(0.9)}
    assert evaluate(protocol(), scores).lines[1].startswith("share most, of 1: 4 and 9 0.9")
