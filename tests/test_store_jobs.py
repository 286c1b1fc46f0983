"""Several jobs at one store: what they share, and what a killed one leaves."""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tdattr import locks
from tdattr.locks import name_lease, name_process
from tdattr.store import Store, provenance, share_out
from tests.plans import get, plan, plans, refuse, write


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


SHARED = 6


def note(root: Path, who: str, number: int, folder: Path) -> dict[str, Any]:
    with (root / "built.txt").open("a") as file:
        file.write(f"{who} {number}\n")
    time.sleep(0.2)
    return {"who": who, "resumed": (folder / "half.txt").exists()}


def share(root: Path, together: Any, who: str) -> None:
    together.wait(300)
    artifacts = share_out(plans(root, partial(note, root, who), SHARED))
    with (root / "seen.txt").open("a") as file:
        file.write(" ".join(artifact.address for artifact in artifacts) + "\n")


def share_and_die(root: Path, together: Any, number: int) -> None:
    def build(each: int, folder: Path) -> dict[str, Any]:
        if each == number:
            (folder / "half.txt").write_text("half")
            together.wait(300)  # the other one may start
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
        return note(root, "killed", each, folder)

    share_out(plans(root, build, SHARED))


def built_by(root: Path) -> list[tuple[str, int]]:
    lines = [line.split() for line in (root / "built.txt").read_text().splitlines()]
    return [(who, int(number)) for who, number in lines]


def test_two_processes_share_the_work_and_do_nothing_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=share, args=(tmp_path, together, who)) for who in ("first", "second")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    built = built_by(tmp_path)
    assert sorted(number for _, number in built) == list(range(SHARED))
    assert {who for who, _ in built} == {"first", "second"}
    expected = " ".join(each.address for each in plans(tmp_path, refuse, SHARED))
    assert (tmp_path / "seen.txt").read_text().splitlines() == [expected] * 2


def test_what_a_killed_process_leaves_another_one_resumes(tmp_path: Path) -> None:
    """The other one does all the rest first and then waits for the one that is being built."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    killed = context.Process(target=share_and_die, args=(tmp_path, together, 1))
    other = context.Process(target=share, args=(tmp_path, together, "other"))
    for process in (killed, other):
        process.start()
    for process in (killed, other):
        process.join(300)
    assert (killed.exitcode, other.exitcode) == (-signal.SIGKILL, 0)
    assert built_by(tmp_path) == [("killed", 0), *(("other", number) for number in (2, 3, 4, 5, 1))]
    facts = [provenance(each.artifact)["facts"] for each in plans(tmp_path, refuse, SHARED)]
    assert [each["resumed"] for each in facts] == [number == 1 for number in range(SHARED)]


def test_all_that_a_lost_machine_held_is_free_after_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what another job that lives holds is waited for no longer than until it is there."""
    waits: list[float] = []
    built: list[tuple[int, float]] = []

    def build(number: int, folder: Path) -> None:
        built.append((number, sum(waits)))

    wanted = plans(tmp_path, build, 4)
    for each in wanted:
        name_lease(each.lease).parent.mkdir(exist_ok=True)
        name_lease(each.lease).write_text('000000000003\n{"owner": "0000beef-12-34"}')

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not wanted[0].finished:
            name_lease(wanted[0].lease).write_text(f'{len(waits):012}\n{{"owner": "0000beef-12-34"}}')
        if sum(waits) > 2 * locks.LEASE_SECONDS:
            get(tmp_path / "other", config={"number": 0}).folder.rename(wanted[0].artifact.folder)

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=sleep))
    share_out(wanted)
    assert [number for number, _ in built] == [1, 2, 3]
    assert {waited for _, waited in built} == {built[0][1]}
    assert locks.LEASE_SECONDS <= built[0][1] < locks.LEASE_SECONDS + 2


@pytest.mark.parametrize("owner", ["", ".0000beef-12-34", f".{name_process()}"], ids=["none", "gone", "own"])
def test_what_a_killed_process_had_begun_to_write_is_deleted(tmp_path: Path, owner: str) -> None:
    """Else it would be a file of the artifact, for ever. One of an older version, of another machine, or this one."""
    wanted = plan(tmp_path)
    unfinished = wanted.artifact.folder.with_name(f".{wanted.address}{owner}.unfinished")
    (unfinished / "deep").mkdir(parents=True)
    (unfinished / "folder.new").mkdir()  # no file
    for name in ("a.safetensors.123.new", "deep/facts.json.4.new", ".tmpPtgwfo", "deep/.tmpa", "kept"):
        (unfinished / name).write_text("half")
    names = {path.name for path in wanted.get().folder.rglob("*")}
    left = {name for name in names if name.endswith(".new") or name.startswith(".tmp")}
    assert "kept" in names and left == {"folder.new"}


def test_the_first_of_two_builders_counts(tmp_path: Path) -> None:
    """A lease was lost, so that another job has built the same meanwhile."""
    store = Store(tmp_path, "cpu")
    wanted = plan(tmp_path).artifact.folder

    def build(folder: Path) -> dict[str, Any]:
        (folder / "result.txt").write_text("second")
        get(tmp_path / "other").folder.rename(wanted)
        return {}

    artifact = get(store, build)
    assert (artifact.folder / "result.txt").read_text() == "done"
    assert store.built == [] and [path.name for path in wanted.parent.iterdir()] == [wanted.name]


def suspend(root: Path) -> None:
    """Build an artifact, and be suspended in the middle of it with an open file."""

    def build(folder: Path) -> None:
        with (folder / "half.txt").open("w") as file:
            file.write("half")
            file.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
            file.write("and whole")
        (folder / "more.txt").write_text("more")

    artifact = get(root, build)
    (root / "woken.txt").write_text((artifact.folder / "half.txt").read_text())


def test_a_holder_that_wakes_up_after_its_lease_was_taken_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
    process = multiprocessing.get_context("spawn").Process(target=suspend, args=(tmp_path,))
    process.start()
    try:
        assert process.pid is not None
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

        def build(folder: Path) -> dict[str, Any]:
            resumed = (folder / "half.txt").read_text()
            (folder / "half.txt").write_text(resumed + ", taken over")
            return {"resumed": resumed}

        artifact = get(tmp_path, build)
        os.kill(process.pid, signal.SIGCONT)
        process.join(300)
    finally:
        process.kill()
    assert process.exitcode == 0 and provenance(artifact)["facts"] == {"resumed": "half"}
    assert (artifact.checked().folder / "half.txt").read_text() == "half, taken over"
    assert (tmp_path / "woken.txt").read_text() == "half, taken over"
    assert [path.name for path in artifact.folder.parent.iterdir()] == [artifact.address]
