"""The store: an address is what went into an artifact, and one is there whole or not at all, built once."""

import os
import shutil
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tdattr import locks, run_status
from tdattr.locks import acquire
from tdattr.run_status import open_stage, report_run
from tdattr.store import USE_SECONDS, Artifact, Plan, Store, find, provenance, share_out
from tests.plans import BASE, get, plan, plans, refuse, write


def test_a_built_artifact_is_found_again_without_building(tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")
    first = get(store)
    assert first.folder == tmp_path / "train" / first.address
    assert first.name == f"train/{first.address}"
    assert (first.folder / "result.txt").read_text() == "done"
    assert get(store, refuse) == first
    assert get(tmp_path, refuse) == first
    assert store.built == [first.name]
    later = Store(tmp_path, "cpu")
    assert get(later, refuse) == first
    assert later.built == []


def test_a_plan_knows_its_artifact_before_it_is_there(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    assert not planned.finished and not any(tmp_path.iterdir())
    expected = planned.artifact
    assert (planned.name, planned.address) == (expected.name, expected.address)
    assert planned.get() == expected
    assert planned.finished and plan(tmp_path, refuse).finished
    assert planned.get() == plan(tmp_path, refuse).get() == expected


def test_an_artifact_is_offered_at_once_or_not_at_all(tmp_path: Path) -> None:
    asked: list[Any] = []

    def build(folder: Path) -> None:
        asked.append(plan(tmp_path, refuse).offer(wait=False))  # as another job would, now

    assert plan(tmp_path, build).offer(wait=False) == plan(tmp_path).artifact
    assert asked == [None]
    assert plan(tmp_path, refuse).offer(wait=False) == plan(tmp_path, refuse).offer(wait=True) == plan(tmp_path).get()


def test_what_is_prepared_is_prepared_before_the_lock_and_only_where_it_is_needed(tmp_path: Path) -> None:
    events: list[str] = []
    store = Store(tmp_path, "cpu")

    def prepare() -> str:
        events.append("prepare")
        assert get(store, stage="part").folder.is_dir()  # made of other artifacts
        assert plan(store, lambda folder: events.append("other")).offer(wait=False) is not None  # nobody has the lock
        return "what was prepared"

    def build(folder: Path, prepared: str) -> dict[str, Any]:
        events.append(prepared)
        return {"prepared": prepared}

    config = {"config": {"steps": 7}}
    first = store.plan(**(BASE | config), build=build, prepare=prepare)
    assert not first.finished and events == []
    assert provenance(first.get())["facts"] == {"prepared": "what was prepared"}
    assert events == ["prepare", "other", "what was prepared"]
    store.plan(**(BASE | config), build=refuse, prepare=lambda: refuse(tmp_path)).get()
    assert [name.split("/")[0] for name in store.built] == ["part", "train", "train"]


@pytest.mark.parametrize("label", [None, "Training F1"])
def test_who_waits_says_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, label: str | None
) -> None:
    caplog.set_level("INFO")
    opened: list[Any] = []
    monkeypatch.setattr(locks, "open_stage", lambda name: opened.append(open_stage(name)) or opened[-1])
    wanted = replace(plan(tmp_path), label=None if label is None else lambda: label)
    wanted.artifact.folder.parent.mkdir()

    def build_elsewhere() -> None:
        lease = acquire(wanted.artifact.folder.with_name(f".{wanted.address}"), None)
        assert lease is not None
        begun.set()
        time.sleep(0.4)
        lease.release()

    for patience in (100.0, 0.05):  # short waits are not worth a line
        monkeypatch.setattr(locks, "UNSAID_SECONDS", patience)
        begun = Event()
        other = Thread(target=build_elsewhere)
        other.start()
        begun.wait()
        with report_run(tmp_path, str):
            wanted.build_under_lock(wanted.artifact, wait=True)
            assert run_status.current is not None and run_status.current.stages == []
        other.join()
        shutil.rmtree(wanted.artifact.folder)
    doing = "" if label is None else ", Training F1"
    said = f"Waiting for another job{doing}, which builds {wanted.name}"
    assert caplog.messages == [f"{said}."]
    assert [stage.name for stage in opened] == [said]


def test_what_another_job_built_meanwhile_is_not_built_again(tmp_path: Path) -> None:
    """It may be finished between the first look and the lock."""
    prepared = Store(tmp_path, "cpu").plan(**BASE, build=lambda *_: refuse(tmp_path), prepare=lambda: get(tmp_path))
    assert prepared.get() == get(tmp_path, refuse)
    assert prepared.store.built == []


def test_shared_out_artifacts_come_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built: list[int] = []

    def build(number: int, folder: Path) -> dict[str, int]:
        built.append(number)
        return {"number": number}

    plans(tmp_path, build, 3)[1].get()
    artifacts = share_out(plans(tmp_path, build, 5), "Sharing")
    assert built == [1, 0, 2, 3, 4]
    assert [provenance(artifact)["facts"]["number"] for artifact in artifacts] == list(range(5))
    shown = capsys.readouterr().err
    assert "Sharing: 5 of 5" in shown
    assert share_out(plans(tmp_path, build, 5), "Sharing") == artifacts and len(built) == 5
    assert share_out([], "Sharing") == [] and capsys.readouterr().err == ""


def test_a_failed_share_leaves_what_was_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(number: int, folder: Path) -> None:
        if number == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        share_out(plans(tmp_path, fail, 4), "Sharing")
    assert "Sharing: 2 of 4" in capsys.readouterr().err  # the bar is ended: an error does not stand behind it
    assert [each.finished for each in plans(tmp_path, fail, 4)] == [True, True, False, False]
    built: list[int] = []
    share_out(plans(tmp_path, lambda number, folder: built.append(number), 4))
    assert built == [2, 3]


def test_address_is_what_went_in(tmp_path: Path) -> None:
    address = get(tmp_path / "a").address
    assert get(tmp_path / "elsewhere" / "deeper").address == address
    assert get(Store(tmp_path / "c", "another device")).address == address
    reordered = {"config": {"b": 1, "a": {"d": 2, "c": 3}}}
    assert get(tmp_path, **reordered).address == get(tmp_path, refuse, config={"a": {"c": 3, "d": 2}, "b": 1}).address
    others = [
        get(tmp_path, **change).address
        for change in (
            {"stage": "generate"},
            {"version": 2},
            {"config": {"steps": 6}},
            {"config": {"steps": "5"}},
            {"config": {"steps": 5, "more": None}},
            {"inputs": {"dataset": "abd"}},
            {"inputs": {"model": "abc"}},
            {"inputs": {}},
        )
    ]
    assert len({address, *others}) == 1 + len(others)


def test_provenance_says_what_went_in_and_how_it_came_about(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    found = provenance(get(Store(tmp_path, "abacus")))
    assert (found["stage"], found["version"]) == ("train", 1)
    assert found["config"] == BASE["config"]
    assert found["inputs"] == BASE["inputs"]
    assert found["facts"] == {"loss": 0.5}
    assert found["device"] == "abacus"
    assert 0 <= found["seconds"] < 3600
    assert before <= datetime.fromisoformat(found["finished"]) <= datetime.now(timezone.utc)
    assert {"torch", "numpy", "diffusers", "peft", "transformers"} <= set(found["packages"])
    assert "revision" in found


def test_a_build_without_facts(tmp_path: Path) -> None:
    assert provenance(get(tmp_path, lambda folder: None))["facts"] == {}


def test_one_build_may_ask_for_another_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")

    def build(folder: Path) -> None:
        store.plan("dataset", 1, {}, {}, write).get()

    outer = get(store, build)
    assert len(store.built) == 2
    assert store.built[1] == outer.name


def test_find(tmp_path: Path) -> None:
    artifact = get(tmp_path)
    assert find(tmp_path, artifact.name) == artifact
    with pytest.raises(FileNotFoundError):
        find(tmp_path, "train/0123456789abcdef")


def test_a_provenance_names_what_was_asked_for_while_the_artifact_was_built(tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")
    alone, shared = (plan(store, config={"steps": steps}) for steps in (1, 2))
    shared.get()

    def build(folder: Path, prepared: Artifact) -> None:
        assert prepared == shared.get()
        (folder / "result.txt").write_text("done")

    whole = Plan(store, "sum", BASE, build, prepare=lambda: (alone.get(), shared.get())[1])

    def build_outer(folder: Path) -> None:
        whole.get()
        write(folder)

    outer = plan(store, build_outer, stage="outer")
    outer.get()
    assert provenance(whole.artifact)["uses"] == [alone.name, shared.name]
    assert provenance(outer.artifact)["uses"] == [whole.name]
    assert provenance(alone.artifact)["uses"] == []


def test_the_time_of_a_folder_says_when_an_artifact_was_last_asked_for(tmp_path: Path) -> None:
    folder = get(tmp_path).folder
    for age, refreshed in ((2 * USE_SECONDS, True), (USE_SECONDS / 2, False)):
        before = time.time() - age
        os.utime(folder, (before, before))
        get(tmp_path, refuse)
        assert (folder.stat().st_mtime - before > age / 2) == refreshed


def test_an_artifact_of_another_user_is_found_though_its_folder_cannot_be_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = get(tmp_path).folder
    os.utime(folder, (0, 0))

    def deny(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "utime", deny)
    assert get(tmp_path, refuse).folder == folder and folder.stat().st_mtime == 0
