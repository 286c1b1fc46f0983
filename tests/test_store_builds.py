"""A build that ends early costs no more than what it had not kept, and shows nothing that is half done."""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdattr import store, unfinished
from tdattr.checkpoints import Checkpoint
from tdattr.rows import Rows
from tdattr.store import Store, find, provenance
from tests.plans import get, plan, refuse, write


def fail_once(name: str) -> None:
    """The next call of that function of the store ends the process instead."""

    def fail(*_: Any) -> None:
        patch.undo()
        raise KeyboardInterrupt

    patch = pytest.MonkeyPatch()
    patch.setattr(store, name, fail)


def resume(folder: Path) -> dict[str, Any]:
    """A build that goes on where it stood: a line a step, of three, and then the result."""
    mark = folder / "steps.progress"
    for step in range(len(mark.read_text()) if mark.exists() else 0, 3):
        mark.write_text("." * (step + 1))
        with (folder.parents[1] / "asked.txt").open("a") as asked:
            asked.write(f"{step} ")
    return write(folder)


@pytest.mark.parametrize("moment", ["seal", "remove_interim", "sync"])
def test_nothing_is_lost_between_the_last_step_and_the_name(tmp_path: Path, moment: str) -> None:
    fail_once(moment)
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, resume)
    artifact = get(tmp_path, resume if moment == "seal" else refuse)
    assert (tmp_path / "asked.txt").read_text() == "0 1 2 "
    assert sorted(path.name for path in artifact.folder.iterdir()) == ["provenance.json", "result.txt"]
    assert provenance(artifact)["facts"] == {"loss": 0.5}


def test_what_was_sealed_and_is_damaged_is_built_again(tmp_path: Path) -> None:
    fail_once("remove_interim")
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, resume)
    [sealed] = tmp_path.glob("train/.*.unfinished/result.txt")
    sealed.write_text("dome")
    assert (get(tmp_path, resume).checked().folder / "result.txt").read_text() == "done"


def test_a_failed_build_leaves_no_artifact_and_is_taken_up_again(tmp_path: Path) -> None:
    places = []

    def fail(folder: Path) -> None:
        places.append(folder)
        (folder / "half.txt").write_text("half")
        raise RuntimeError("power cut")

    store = Store(tmp_path, "cpu")
    with pytest.raises(RuntimeError, match="power cut"):
        get(store, fail)
    assert store.built == []
    assert not [path for path in (tmp_path / "train").iterdir() if path.name[0] != "."]

    def go_on(folder: Path) -> None:
        places.append(folder)
        (folder / "whole.txt").write_text((folder / "half.txt").read_text() + " and whole")

    artifact = get(store, go_on)
    assert places[0] == places[1] != artifact.folder
    assert not places[0].exists()
    assert (artifact.folder / "whole.txt").read_text() == "half and whole"
    other = get(store, lambda folder: {"found": len(list(folder.iterdir()))}, config={"steps": 6})
    assert provenance(other)["facts"] == {"found": 0}


def test_an_artifact_is_invisible_while_it_is_being_built(tmp_path: Path) -> None:
    address = get(tmp_path / "other").address

    def build(folder: Path) -> None:
        assert not (tmp_path / "train" / address).exists()
        with pytest.raises(FileNotFoundError):
            find(tmp_path, f"train/{address}")

    assert get(tmp_path, build).address == address
    assert find(tmp_path, f"train/{address}").folder.is_dir()


def test_seconds_are_those_of_the_artifact_itself(tmp_path: Path) -> None:
    """So that a sum over artifacts is the same whoever asked for them first."""
    store = Store(tmp_path, "cpu")
    slow = store.plan("slow", 1, {}, {}, lambda folder: time.sleep(0.5))

    def build(folder: Path) -> None:
        slow.get()
        time.sleep(0.1)

    outer = get(store, build)
    assert provenance(slow.artifact)["seconds"] >= 0.5
    assert 0.1 <= provenance(outer)["seconds"] < 0.4


def write_a_row(folder: Path, done: int) -> int:
    """As stages do that resume from rows."""
    rows = Rows(folder, "values", 3)
    assert rows.done == done
    rows.write(numbers=np.zeros((1, 2)))
    return rows.done


def write_a_checkpoint(folder: Path, done: int) -> int:
    """As stages do that resume from a checkpoint."""
    checkpoint = Checkpoint(folder)
    assert done == (0 if checkpoint.content is None else checkpoint.content["steps"])
    checkpoint.write({"steps": done + 1})
    return done + 1


@pytest.mark.parametrize("keep", [write_a_row, write_a_checkpoint])
def test_seconds_of_a_resumed_build_are_those_of_its_attempts(
    keep: Callable[[Path, int], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what came after the last checkpoint, which is done again, and for what another artifact took."""
    clock, done = [0.0], [0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def build_other(folder: Path) -> None:
        clock[0] += 1000

    def build(store: Store, folder: Path) -> None:
        store.plan("other", 1, {}, {}, build_other).get()
        for _ in range(2 if done[0] == 0 else 1):
            clock[0] += 10
            done[0] = keep(folder, done[0])
        clock[0] += 3
        if done[0] == 2:
            raise KeyError

    for _ in range(2):
        clock[0] += 500  # between the attempts
        own = Store(tmp_path, "cpu")
        with suppress(KeyError):
            own.plan("stage", 1, {}, {}, partial(build, own)).get()
    [folder] = (tmp_path / "stage").glob("[!.]*")
    content = json.loads((folder / "provenance.json").read_text())
    assert content["seconds"] == 2 * 10 + 10 + 3 and not list(folder.glob("*.progress"))


def test_an_attempt_that_could_not_copy_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a process has left that cannot be seen from here."""
    wanted = plan(tmp_path)
    left = wanted.artifact.folder.with_name(f".{wanted.address}.0000beef-12-34.unfinished")
    left.mkdir(parents=True)
    (left / "steps.progress").write_text("..")
    os.utime(left, (0, 0))

    def fail(*_: Any) -> None:
        raise shutil.Error("it cannot be read for now")

    def stop(folder: Path) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", fail)
        with pytest.raises(RuntimeError, match="killed"):
            get(tmp_path, stop)
    monkeypatch.setattr(unfinished, "name_process", lambda: "0000beef-12-35")  # another process tries again
    get(tmp_path, resume)
    assert (tmp_path / "asked.txt").read_text() == "2 "
