"""``tdattr-sweep``: what it says, what it ends, and that it needs nothing that takes long to import."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tdattr.sweeps import command
from tdattr.sweeps.earlier import Earlier, write_earlier
from tdattr.sweeps.states import read_states
from tests.sweeps.sweep import make_sweep, run_job, say

Said = Callable[..., str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Said:
    """``said("status")`` is what the command prints, or its error where that is expected."""
    monkeypatch.setenv("TDATTR_OUTPUTS", str(tmp_path))

    def run(*arguments: str, fails: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["tdattr-sweep", *arguments])
        if not fails:
            command.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 1
        return capsys.readouterr().err

    return run


def test_the_states_of_the_newest_sweep(said: Said, tmp_path: Path) -> None:
    old = make_sweep(tmp_path / "runs" / "old")
    os.utime(old.folder / "sweep.json", (1, 1))
    sweep = make_sweep(tmp_path / "runs" / "new", 5, process=os.getpid())
    step = {"stage": "Unlearning query 3", "done": 40, "total": 200, "seconds_left": None}
    say(sweep, 0, "done", started="2026-01-01T00:00:00+00:00", updated="2026-01-01T00:01:02+00:00")
    say(sweep, 1, "running", os.getpid(), stage="Attributing (mucs)", done=3, total=20, seconds_left=7200.9, step=step)
    say(sweep, 2, "failed", error="Training F1: the loss is nan at step 3; lower train.learning_rate.")
    (sweep.folder / "2" / "job.log").touch()
    say(sweep, 3, "running", 2**22 + 1)
    write_earlier(sweep.folder, [Earlier(["method=random", "seed=7"], "/runs/before/0")])
    lines = re.sub(r"\d:\d\d:\d\d left", "TIME left", said("status")).splitlines()
    assert lines[0].startswith(f"{sweep.folder}: 5 jobs, local, since 20")
    assert lines[1:-1] == [
        "#0    DONE         seed=0  in 1:02",
        "#1    RUNNING      seed=1  Attributing (mucs) 15 %, TIME left; Unlearning query 3 40 of 200",
        "#2    FAILED       seed=2  Training F1: the loss is nan at step 3; lower train.learning_rate. "
        f"({sweep.folder / '2/job.log'})",
        "#3    LOST         seed=3  its process 4194305 is gone without an end",
        "#4    WAITING      seed=4",
    ]
    assert lines[-1] == ("1 running, 1 failed, 1 lost, 1 waiting, 1 done; 1 more were done before, in earlier runs")
    assert said("status", "old").startswith(str(old.folder)) and said("status", str(old.folder)) == said(
        "status", "old"
    )
    assert said("status", "0-1", "4").count("\n") == 5


def test_of_a_thousand_jobs_only_some_have_a_line(said: Said, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "runs" / "big", 1000, process=os.getpid())
    for number in range(100):
        say(sweep, number, "done")
    for number in range(100, 160):
        say(sweep, number, "running", os.getpid(), stage="Training F1")
    say(sweep, 160, "failed", error="why")
    lines = said("status").splitlines()
    assert len(lines) == command.MOST_LINES + 3
    assert lines[40] == "#160  FAILED       seed=160  why"
    assert lines[-2].startswith("and 21 running, 839 waiting, 100 done (")
    assert lines[-1] == "60 running, 1 failed, 839 waiting, 100 done"
    assert len(said("status", "--all").splitlines()) == 1002


def test_the_log_of_a_job(said: Said, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "runs" / "s", process=os.getpid())
    assert "Job #2 has no log yet" in said("logs", "2", fails=True)
    assert "tdattr-sweep logs NUMBER" in said("logs", fails=True)
    assert "There is no job #9" in said("logs", "9", fails=True)
    say(sweep, 2, "done")
    (sweep.folder / "2" / "job.log").write_text("Training F1\nResults\n")
    for given in (["2"], ["2", "-f"], ["2", "-f", "s"], ["-f", "s", "2"], ["s", "-f", "2"], ["-f", "2", "s"]):
        assert said("logs", *given) == "Training F1\nResults\n"
    with pytest.raises(SystemExit):
        command.parse(["logs", "2", "-f", "s", "--follw"])


def test_a_log_is_followed_until_its_job_ends(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(tmp_path / "runs" / "s", process=os.getpid())
    say(sweep, 0, "running", os.getpid())
    log = sweep.folder / "0" / "job.log"
    log.write_text("first\n")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        with log.open("a") as file:
            file.write(f"look {len(looks)}\n")
        if len(looks) == 3:
            say(sweep, 0, "done")

    monkeypatch.setattr(command.time, "sleep", sleep)
    assert said("logs", "0", "--follow") == "first\nlook 1\nlook 2\nlook 3\n"


def test_jobs_are_cancelled_alone(said: Said, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "runs" / "s", process=os.getpid())
    with run_job(sweep, 0) as first, run_job(sweep, 1) as second:
        assert said("cancel", "1", "3") == "Cancelled jobs #1 and #3; 1 of them ran and end now.\n"
        assert second.wait() == -signal.SIGTERM
        assert first.poll() is None
        states = [job.state for job in read_states(sweep).jobs]
        assert states == ["RUNNING", "CANCELLED", "WAITING", "CANCELLED"]
        assert said("cancel", "1") == "Nothing to cancel: job #1 has ended.\n"
        said("cancel")
        assert first.wait() == -signal.SIGTERM
    assert {job.state for job in read_states(sweep).jobs} == {"CANCELLED"}


def test_what_cannot_be_cancelled_from_here_is_left_alone(said: Said, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "runs" / "s", process=os.getpid())
    say(sweep, 0, "running", host="node7", updated="2999-01-01T00:00:00+00:00")
    assert "Job #0 runs on node7: give the command there." in said("cancel", fails=True)
    sweep = make_sweep(tmp_path / "runs" / "s", launcher="basic", process=os.getpid())
    say(sweep, 0, "running", os.getpid())
    assert "tdattr-sweep cancel, without numbers, ends all" in said("cancel", "0", fails=True)
    assert "3-1 holds no job: write 1-3." in said("cancel", "3-1", fails=True)
    assert [job.state for job in read_states(sweep).jobs] == ["RUNNING", "WAITING", "WAITING", "WAITING"]


def test_a_sweep_that_goes_on_is_chosen_before_a_newer_one_that_has_ended(said: Said, tmp_path: Path) -> None:
    goes_on = make_sweep(tmp_path / "runs" / "long", process=os.getpid())
    ended = make_sweep(tmp_path / "runs" / "short", 1)
    say(ended, 0, "failed", error="why")
    os.utime(goes_on.folder / "sweep.json", (1, 1))
    for damaged in ("of another version", '{"jobs": [], "slot": 3}'):
        folder = tmp_path / "runs" / f"old {len(damaged)}"
        folder.mkdir()
        (folder / "sweep.json").write_text(damaged)
        os.utime(folder / "sweep.json", (0, 0))
    assert said("status").startswith(f"{goes_on.folder}: 4 jobs")
    note = command.parse(["status"]).note
    assert note == "This is long; short is newer and has ended: name one to ask about it."
    for action in ("cancel", "retry"):  # what is not the newest is not changed unasked
        assert "Which sweep? Jobs of long run or wait; short is newer" in said(action, fails=True)
    assert {job.state for job in read_states(goes_on).jobs} == {"WAITING"}
    assert command.parse(["cancel", "long"]).folder == goes_on.folder
    for number in range(4):
        say(goes_on, number, "done")
    assert said("status").startswith(f"{ended.folder}: 1 job") and command.parse(["retry"]).note is None


def test_other_sweeps_that_go_on_are_named(said: Said, tmp_path: Path) -> None:
    for age, name in enumerate(("first", "second", "third")):
        sweep = make_sweep(tmp_path / "runs" / name, process=os.getpid())
        os.utime(sweep.folder / "sweep.json", (age, age))
    assert said("status").startswith(f"{tmp_path / 'runs' / 'third'}: 4 jobs")
    note = command.parse(["status"]).note
    assert note == "This is third; jobs of second, first run or wait too: name one to ask about it."
    assert "Which sweep? Jobs of third run or wait; jobs of second, first" in said("cancel", fails=True)
    assert command.parse(["status", "first"]).note is None


def test_without_a_sweep_the_sentence_says_where_it_looked(said: Said, tmp_path: Path) -> None:
    assert said("status", fails=True) == (
        f"error: There is no sweep below {tmp_path / 'runs'}: name its folder, or set TDATTR_OUTPUTS.\n"
    )
    assert "has no sweep.json" in said("status", "elsewhere", fails=True)
    assert "Name one sweep, not 2" in said("status", "a", "b", fails=True)


def test_nothing_that_takes_long_is_imported() -> None:
    code = "import sys, tdattr.sweeps.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "hydra", "omegaconf", "pandas", "numpy", "lightning", "rich", "submitit", "yaml"}
    assert "tdattr.sweeps.states" in loaded and not heavy & set(loaded)
