"""The store: an address is what went into an artifact, and one is there whole or not at all, built once."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tdattr.artifacts import Store, find, provenance

BASE: dict[str, Any] = {"stage": "train", "stage_version": 1, "config": {"steps": 5}, "inputs": {"dataset": "abc"}}


def write(folder: Path) -> dict[str, Any]:
    (folder / "result.txt").write_text("done")
    return {"loss": 0.5}


def refuse(folder: Path) -> None:
    raise AssertionError("must not be built again")


def get(root: Path, build: Callable[[Path], Any] = write, **changes: Any) -> Any:
    return Store(root, "cpu").get(**(BASE | changes), build=build)


def test_a_built_artifact_is_found_again_without_building(tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")
    first = store.get(**BASE, build=write)
    assert first.folder == tmp_path / "train" / first.address
    assert first.name == f"train/{first.address}"
    assert (first.folder / "result.txt").read_text() == "done"
    assert store.get(**BASE, build=refuse) == first
    assert get(tmp_path, refuse) == first
    assert store.built == [first.name]
    assert list(store.used) == [first.name]
    later = Store(tmp_path, "cpu")
    assert later.get(**BASE, build=refuse) == first
    assert later.built == []
    assert list(later.used) == [first.name]


def test_address_is_what_went_in(tmp_path: Path) -> None:
    address = get(tmp_path / "a").address
    assert get(tmp_path / "elsewhere" / "deeper").address == address
    assert Store(tmp_path / "c", "another device").get(**BASE, build=write).address == address
    reordered = {"config": {"b": 1, "a": {"d": 2, "c": 3}}}
    assert get(tmp_path, **reordered).address == get(tmp_path, refuse, config={"a": {"c": 3, "d": 2}, "b": 1}).address
    others = [
        get(tmp_path, **change).address
        for change in (
            {"stage": "generate"},
            {"stage_version": 2},
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
    found = provenance(Store(tmp_path, "abacus").get(**BASE, build=write))
    assert (found["stage"], found["version"]) == ("train", 1)
    assert found["config"] == BASE["config"]
    assert found["inputs"] == BASE["inputs"]
    assert found["facts"] == {"loss": 0.5}
    assert found["device"] == "abacus"
    assert 0 <= found["seconds"] < 3600
    assert before <= datetime.fromisoformat(found["finished"]) <= datetime.now(timezone.utc)
    assert {"torch", "numpy"} <= set(found["packages"])
    assert "revision" in found


def test_a_build_without_facts(tmp_path: Path) -> None:
    assert provenance(get(tmp_path, lambda folder: None))["facts"] == {}


def test_a_failed_build_leaves_no_artifact_and_is_taken_up_again(tmp_path: Path) -> None:
    places = []

    def fail(folder: Path) -> None:
        places.append(folder)
        (folder / "half.txt").write_text("half")
        raise RuntimeError("power cut")

    store = Store(tmp_path, "cpu")
    with pytest.raises(RuntimeError, match="power cut"):
        store.get(**BASE, build=fail)
    assert store.built == []
    assert not [path for path in (tmp_path / "train").iterdir() if path.name[0] != "."]

    def go_on(folder: Path) -> None:
        places.append(folder)
        (folder / "whole.txt").write_text((folder / "half.txt").read_text() + " and whole")

    artifact = store.get(**BASE, build=go_on)
    assert places[0] == places[1] != artifact.folder
    assert not places[0].exists()
    assert (artifact.folder / "whole.txt").read_text() == "half and whole"
    other = store.get(**(BASE | {"config": {"steps": 6}}), build=lambda folder: {"found": len(list(folder.iterdir()))})
    assert provenance(other)["facts"] == {"found": 0}


def test_an_artifact_is_invisible_while_it_is_being_built(tmp_path: Path) -> None:
    address = get(tmp_path / "other").address

    def build(folder: Path) -> None:
        assert not (tmp_path / "train" / address).exists()
        with pytest.raises(FileNotFoundError):
            find(tmp_path, f"train/{address}")

    assert get(tmp_path, build).address == address
    assert find(tmp_path, f"train/{address}").folder.is_dir()


def test_one_build_may_ask_for_another_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path, "cpu")

    def build(folder: Path) -> None:
        store.get("dataset", 1, {}, {}, write)

    outer = store.get(**BASE, build=build)
    assert len(store.built) == 2
    assert store.built[1] == outer.name
    assert next(iter(store.used)) == outer.name


def test_find(tmp_path: Path) -> None:
    artifact = get(tmp_path)
    assert find(tmp_path, artifact.name) == artifact
    with pytest.raises(FileNotFoundError):
        find(tmp_path, "train/0123456789abcdef")


def compete(root: Path, together: Any, number: int) -> None:
    def build(folder: Path) -> dict[str, Any]:
        with (root / "built.txt").open("a") as file:
            file.write(f"{number}\n")
        time.sleep(0.3)
        return write(folder)

    together.wait(300)
    artifact = get(root, build)
    with (root / "seen.txt").open("a") as file:
        file.write(f"{artifact.address} {(artifact.folder / 'result.txt').read_text()}\n")


def die(root: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    get(root, build)


def test_two_processes_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=compete, args=(tmp_path, together, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / "built.txt").read_text().splitlines()) == 1
    seen = (tmp_path / "seen.txt").read_text().splitlines()
    assert seen == [f"{get(tmp_path, refuse).address} done"] * 2


def test_a_killed_build_is_taken_up_again(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path,))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    artifact = get(tmp_path, lambda folder: {"found": (folder / "half.txt").read_text()})
    assert provenance(artifact)["facts"] == {"found": "half"}
