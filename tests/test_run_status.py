"""The status of a run: what it says while it runs, how it ends, and that it costs the run nothing."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tdattr import run_status
from tdattr.jobs import Interrupted
from tdattr.progress import Bar, track
from tdattr.run_status import identify_process, is_running, open_stage, read_status, report_run

LONG_ENOUGH_SECONDS = 300.0


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition gives as soon as it holds."""
    end = time.monotonic() + LONG_ENOUGH_SECONDS
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return result


def test_a_run_says_in_which_stage_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_status, "WRITE_INTERVAL_SECONDS", 0.01)
    with report_run(tmp_path, str):
        outer = Bar("Attributing (mucs)", 20, 2)
        outer.advance(3)
        inner = Bar("Unlearning query 5", 200, nested=True)
        said = wait_for(lambda: (found := read_status(tmp_path)) and found["step"] and found)
        assert said["state"] == "running" and said["pid"] == os.getpid() and said["error"] is None
        assert (said["stage"], said["done"], said["total"]) == ("Attributing (mucs)", 5, 20)
        assert said["seconds_left"] >= 0
        expected = {"stage": "Unlearning query 5", "done": 0, "total": 200, "seconds_left": None}
        assert said["step"] == expected
        inner.close()
        outer.close()
        assert wait_for(lambda: (found := read_status(tmp_path)) and found["stage"] == "")
    assert read_status(tmp_path)["state"] == "done"
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(run_status.time, "monotonic", lambda: clock[0])
    stage = run_status.Stage("Training F1", 50, 100)
    clock[0], stage.done = 130.0, 65  # 15 units in 30 s, and 35 to go
    assert stage.describe()["seconds_left"] == 70


def test_a_million_steps_are_written_down_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(run_status, "WRITE_INTERVAL_SECONDS", 1000.0)
    monkeypatch.setattr(run_status, "write_status", lambda folder, content: written.append(content))
    with report_run(tmp_path, str):
        for _ in track(range(10_000), "Training F1", 10_000):
            pass
    assert [content["state"] for content in written] == ["running", "done"]


@pytest.mark.parametrize(
    ("ended_by", "state", "error"),
    [(ValueError("why"), "failed", "because: why"), (Interrupted(15), "interrupted", None)],
)
def test_how_a_run_ends(ended_by: BaseException, state: str, error: str | None, tmp_path: Path) -> None:
    with pytest.raises(type(ended_by)), report_run(tmp_path, lambda problem: f"because: {problem}"):
        raise ended_by
    said = read_status(tmp_path)
    assert (said["state"], said["error"], said["log"]) == (state, error, "run.log")
    assert open_stage("Training F1") is None  # no run is there to report it


def test_a_full_disk_costs_the_run_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_status.os, "replace", refuse)
    with caplog.at_level(logging.WARNING), report_run(tmp_path, str):
        pass
    assert caplog.messages == [f"Warning: {tmp_path / 'status.json'} cannot be written (No space left on device)."]
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_killed_is_known_to_be_gone(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from tdattr.run_status import report_run
with report_run(Path(sys.argv[1]), str):
    time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        try:
            said = wait_for(lambda: read_status(tmp_path))
            assert said["pid"] == process.pid and is_running(said["pid"], said["process"])
            process.send_signal(signal.SIGKILL)
            wait_for(lambda: not is_running(said["pid"], said["process"]))  # though nobody has waited for it yet
        finally:
            process.kill()
    assert read_status(tmp_path)["state"] == "running"
    assert not is_running(said["pid"], said["process"])


def test_another_process_of_the_same_number_is_another_one() -> None:
    identity = identify_process(os.getpid())
    if identity is None:
        pytest.skip("this system has no /proc")
    assert is_running(os.getpid(), identity) and is_running(os.getpid(), None)
    assert not is_running(os.getpid(), f"{identity}0")


def test_where_there_is_no_proc_the_number_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_status, "PROCESSES", tmp_path)
    assert identify_process(os.getpid()) is None and is_running(os.getpid(), None)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not is_running(process.pid, None)


def test_a_process_that_the_run_forks_reports_nothing(tmp_path: Path) -> None:
    with report_run(tmp_path, str):
        child = os.fork()
        if child == 0:
            os._exit(open_stage("loading") is not None)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"state": 3})])
def test_what_cannot_be_read_says_nothing(content: str, tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) is None
