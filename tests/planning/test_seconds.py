"""Seconds of like artifacts count where they are of enough work."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tdattr.costs import Cost, Work
from tdattr.planning.graph import Entry
from tdattr.planning.measure import Measured
from tdattr.planning.seconds import MEASURED, MOST_EXTRAPOLATED, RECORDED, TRIAL, UNKNOWN, Estimates
from tests.plans import plan

pytestmark = pytest.mark.usefixtures("unchecked")  # the workspace is only pretended
TRIED = 10  # evaluations that are stored, at two seconds each
PACE = 0.5  # seconds of one that is measured


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whose store has a trial, and whose evaluations can be measured."""
    monkeypatch.setattr(Measured, "seconds", lambda self, work: None if work.looks else PACE * work.evaluations)
    sums = {("like", "cpu"): (2.0 * TRIED, TRIED)}
    monkeypatch.setattr("tdattr.planning.seconds.Recorded", lambda folder: SimpleNamespace(sums=sums))
    return SimpleNamespace(absent=False, prepared=SimpleNamespace(stage="dataset"), data=None, size="small")


def entry(ws: Any, root: Path, work: Work, like: str = "like") -> Entry:
    missing = plan(root, like=like, cost=lambda: Cost(work))
    return Entry(missing, ws, Cost(work), finished=False)


@pytest.mark.parametrize(
    ("count", "seconds", "source"),
    [
        (TRIED, 2.0 * TRIED, RECORDED),
        (int(MOST_EXTRAPOLATED) * TRIED, 2.0 * MOST_EXTRAPOLATED * TRIED, RECORDED),
        (int(MOST_EXTRAPOLATED) * TRIED + 1, PACE * (MOST_EXTRAPOLATED * TRIED + 1), MEASURED),
    ],
)
def test_a_trial_is_not_believed(ws: Any, count: int, seconds: float, source: str, tmp_path: Path) -> None:
    found = Estimates().estimate(entry(ws, tmp_path, Work(evaluations=count)))
    assert (found.seconds, found.source) == (pytest.approx(seconds), source)


def test_where_nothing_else_is_known_it_is_said_to_be_a_trials(ws: Any, tmp_path: Path) -> None:
    looks = int(MOST_EXTRAPOLATED) * TRIED + 1
    found = Estimates().estimate(entry(ws, tmp_path, Work(looks=looks)))
    assert (found.seconds, found.source) == (pytest.approx(2.0 * looks), TRIAL)
    assert Estimates().estimate(entry(ws, tmp_path, Work(looks=looks), like="other")).source == UNKNOWN
