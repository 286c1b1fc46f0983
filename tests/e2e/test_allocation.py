"""Scores from some of the losses, from the command line: who may ask for them, and what a run says of them."""

import json
from pathlib import Path

import numpy as np
import pytest

import tdattr as library
from tdattr.errors import UserError
from tdattr.metrics.rank_correlation import spearman
from tdattr.scores import LISTED, load_scores
from tdattr.store import find
from tests.e2e.console import MUCS, TINY, tdattr

MANY_PAIRS = [argument for argument in MUCS if "pairs" not in argument] + ["method.score.pairs=25"]
TRAINED = ["weights=raw", "train.steps=60", "train.learning_rate=0.005"]  # enough for losses to move
RACING = "method.score.allocation=racing"


def summary(folder: Path) -> dict:
    (path,) = folder.glob("outputs/runs/**/summary.json")
    return json.loads(path.read_text())


def test_a_race_decides_what_leave_k_out_removes(tmp_path: Path) -> None:
    found = {}
    for allocation in ("all", "racing", "importance"):
        folder = tmp_path / allocation
        folder.mkdir()
        choice = [f"method.score.allocation={allocation}"]
        if allocation == "importance":
            choice.append("method.score.pairs_each=12")
        printed = tdattr("method=mucs", *TINY, *TRAINED, *MANY_PAIRS, *choice, "protocol.k=30", folder=folder).stderr
        run = summary(folder)
        found[allocation] = load_scores(find(folder / "outputs" / "artifacts", run["artifacts"]["scores"]))
        told = " losses after unlearning a query" in printed
        assert told == (allocation != "all") == ("share_evaluated" in run["facts"])
        assert ("expected to be wrongly left out" in printed) == (allocation == "racing")
    whole, raced = found["all"], found["racing"]
    agreement = spearman(found["importance"].values.numpy().T, whole.values.numpy().T)
    assert agreement.min() > 0.9
    assert raced.decided == 30 and whole.decided is None and found["importance"].decided is None
    for query, (ids, known) in enumerate(zip(raced.top(30), whole.top(30), strict=True)):
        assert len(np.intersect1d(ids, known)) >= 29, query
    np.testing.assert_allclose(raced.values.sort(descending=True).values[:, 0], whole.values.amax(1), rtol=1e-4)
    assert raced.top(LISTED).shape == (3, LISTED)
    with pytest.raises(ValueError, match=r"^which are the 30 highest scores"):
        raced.top(40)


def test_many_expected_misses_are_warned_of(tmp_path: Path) -> None:
    doubtful = ["method=mucs", *TINY, *TRAINED, *MANY_PAIRS, RACING, "method.score.doubt=0.01", "protocol.k=30"]
    printed = tdattr(*doubtful, folder=tmp_path).stderr
    assert "of the 30 items that a query is attributed to are expected to be wrong ones: raise method.score" in printed
    assert any("raise method.score.doubt" in warning for warning in summary(tmp_path)["warnings"])


def test_estimates_of_every_score_are_judged_as_scores(tmp_path: Path) -> None:
    lds = ["protocol=lds", "protocol.subsets=3", "protocol.repeats=1", "protocol.draws=10"]
    choice = ["method.score.allocation=importance", "method.score.pairs_each=12"]
    printed = tdattr("method=mucs", *TINY, *TRAINED, *MANY_PAIRS, *choice, *lds, folder=tmp_path).stderr
    assert "LDS " in printed and "; the standard error of a score is " in printed


def test_a_session_refuses_a_race_too(tmp_path: Path) -> None:
    settings = ["method=mucs", *TINY, f"paths.outputs={tmp_path}"]
    racing, ws = (library.compose([*settings, choice]) for choice in (RACING, "protocol=lds"))
    with pytest.raises(UserError, match=r"^method.score.allocation=racing decides only the highest scores"):
        library.attribute(ws, racing.method)
    assert not (tmp_path / "artifacts" / "pretrain").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=mucs", RACING, "protocol=lds"], "method.score.allocation=racing decides only the highest scores, "),
        (["method=abu", RACING, "protocol=logo"], "protocol=logo needs all: set method.score.allocation to "),
        (
            ["method=ensemble_b", "method.members.mucs.score.allocation=racing"],
            "method.members.mucs decides only its highest scores",
        ),
        (["method=mucs", "method.score.allocation=all", "method.score.doubt=3"], "method.score.doubt"),
        (["method=mucs", "method.score.pairs_each=3"], "method.score.pairs_each"),
        (["method=forward_inf", RACING], "method.score.allocation=racing needs method.score.consistent=true"),
    ],
)
def test_who_needs_every_score_refuses_a_race(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = tdattr(*arguments, *TINY, folder=tmp_path, check=False)
    assert done.returncode == 1 and words in done.stderr
    assert not (tmp_path / "outputs" / "artifacts").exists()


def test_another_k_is_another_race(tmp_path: Path) -> None:
    for k in (4, 5):
        done = tdattr("method=mucs", *TINY, *MUCS, RACING, f"protocol.k={k}", "until=attribute", folder=tmp_path)
        assert "Attributing (mucs)" in done.stderr, k
        assert "expected to be wrongly left out" in done.stderr
    assert len([*tmp_path.glob("outputs/runs/**/attributions.csv")]) == 2
    again = tdattr("method=mucs", *TINY, *MUCS, RACING, "protocol.k=4", "until=attribute", folder=tmp_path)
    assert "Attributing (mucs)" not in again.stderr
