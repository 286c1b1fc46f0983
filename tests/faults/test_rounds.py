"""What the command counts: it must notice what is lost and what differs, or its zeros would mean nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tdattr.store import Store
from tests.faults.attempts import Blow, Ended
from tests.faults.cases import CASES, stages_of_code
from tests.faults.content import contents, differences, leftovers
from tests.faults.rounds import Built, Case, Round, Tally, judge

FIRST, SECOND = "train/0123456789abcdef", "scores/fedcba9876543210"


@pytest.fixture
def current(tmp_path: Path) -> Round:
    built = [Built(FIRST, 5, 1.0), Built(SECOND, 3, 0.5)]
    return Round(Case("small", [], tmp_path, built=built, seconds=2.0), tmp_path, Tally())


def lines(*said: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [{"what": what, "name": name, "done": done, "time": n} for n, (what, name, done) in enumerate(said)]


def finish(current: Round, name: str) -> None:
    (current.outputs / "artifacts" / name).mkdir(parents=True)


def test_an_artifact_that_is_built_again_is_lost(current: Round) -> None:
    finish(current, FIRST)
    current.note(Ended(-9, True, lines(("begin", FIRST, 0), ("finish", FIRST, 0), ("begin", SECOND, 0))))
    assert not current.tally.losses and current.tally.stages == {"scores": 1}
    current.note(Ended(0, False, lines(("begin", SECOND, 0), ("finish", SECOND, 0))))
    assert not current.tally.losses
    current.note(Ended(0, False, lines(("begin", FIRST, 0))))
    assert len(current.tally.losses) == 1 and FIRST in current.tally.losses[0] and not current.sound


def test_so_is_one_that_two_jobs_build(current: Round) -> None:
    finish(current, FIRST)
    both = lines(("begin", FIRST, 0), ("finish", FIRST, 0), ("begin", FIRST, 0))
    current.note(Ended(0, False, both[:2]), Ended(0, False, both[2:]))
    assert len(current.tally.losses) == 1


def test_work_that_starts_over_is_lost(current: Round) -> None:
    name = f"{FIRST}/resume.ckpt"
    current.note(Ended(-9, True, lines(("begin", FIRST, 0), ("mark", name, 4), ("mark", name, 8))))
    current.note(Ended(-9, True, lines(("begin", FIRST, 0), ("mark", name, 8), ("begin", SECOND, 0))))
    assert not current.tally.losses  # it was killed as it said 8
    current.note(Ended(0, False, lines(("begin", FIRST, 0), ("mark", name, 4))))
    assert len(current.tally.losses) == 1 and "had come to 8 and then to 4" in current.tally.losses[0]


def test_moments_are_chosen_inside_what_is_missing_and_was_hit_least(current: Round) -> None:
    finish(current, FIRST)
    current.note(Ended(-9, True, lines(("begin", SECOND, 0))))
    rng = np.random.default_rng(0)
    chosen = [current.choose(rng, 9, False)[1] for _ in range(50)]
    assert {blow.artifact for blow in chosen} == {None, SECOND}
    assert {blow.operation for blow in chosen if blow.artifact} == {None, 1, 2, 3}
    first, again = (current.choose(np.random.default_rng(3), 9, False) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("status", "struck", "log", "right"),
    [
        (0, False, "", True),
        (143, True, "Interrupted by SIGTERM: run the same command again to resume.\n", True),
        (143, True, "Traceback\n", False),
        (-15, True, "", True),
        (143, False, "Interrupted by SIGTERM: run the same command again to resume.\n", False),
        (1, True, "error: no\n", False),
    ],
)
def test_how_an_attempt_may_end(status: int, struck: bool, log: str, right: bool) -> None:
    assert (judge(Ended(status, struck, [], log), Blow(None, None, 0.0, 15)) is None) == right


def build(folder: Path, value: float, seconds: float) -> dict[str, Any]:
    save_file({"scores": torch.tensor([1.0, value])}, folder / "a.safetensors", {"facts": f'{{"seconds": {seconds}}}'})
    (folder / "a.csv").write_text(f"query,seconds\n0,{seconds}\n")
    (folder / "a.json").write_text(json.dumps({"auc": 0.5, "times": [{"seconds_per_query": seconds}]}))
    return {"setup_seconds": seconds, "loss": 1.0}


def test_contents_differ_by_more_than_seconds(tmp_path: Path) -> None:
    def store(name: str, value: float, seconds: float) -> dict[str, Any]:
        def make(folder: Path) -> dict[str, Any]:
            return build(folder, value, seconds)

        Store(tmp_path / name, "cpu").plan("scores", 1, {}, {}, make).get()
        return contents(tmp_path / name)

    first = store("first", 2.0, 1.0)
    assert len(first) == 4
    assert differences(first, store("later", 2.0, 3.0)) == []
    [other] = differences(first, store("other", 2.0000002, 1.0))
    assert other.endswith("a.safetensors")
    [missing] = differences(first, {name: value for name, value in first.items() if not name.endswith("csv")})
    assert missing.endswith("a.csv")
    assert leftovers(tmp_path / "first") == []
    (tmp_path / "first" / "scores" / ".0123456789abcdef.unfinished").mkdir()
    assert leftovers(tmp_path / "first") == ["scores/.0123456789abcdef.unfinished"]


def test_the_stages_are_those_of_the_code() -> None:
    stages = stages_of_code()
    assert {"dataset", "pretrain", "checkpoint", "query_scores", "kernel", "moments", "evaluate"} <= set(stages)
    assert len(stages) >= 20 and all(stage.isidentifier() for stage in stages)
    assert {"mucs", "guda"} <= set(CASES)
