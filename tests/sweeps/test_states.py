"""The states of jobs are true: also of those that were killed, cancelled, or never started."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tdattr.run_status import report_run
from tdattr.sweeps import states
from tdattr.sweeps.record import Sweep
from tdattr.sweeps.states import CANCEL, read_states
from tests.sweeps.sweep import make_sweep, run_job, say, wait_for

GONE = 2**22 + 1  # more processes than Linux has


def state_of(sweep: Sweep, number: int = 0) -> tuple[str, str | None]:
    """How a job is, and why."""
    job = read_states(sweep).jobs[number]
    return job.state, job.reason


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``squeue(answer, status)`` is what SLURM answers; gives the file of the questions."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    asked = tmp_path / "asked"

    def answer(out: str = "", status: int = 0, error: str = "") -> Path:
        (folder / "squeue").write_text(
            f"#!/bin/sh\necho \"$@\" >> {asked}\nprintf '{out}'\nprintf '{error}' >&2\nexit {status}\n"
        )
        (folder / "squeue").chmod(0o755)
        return asked

    return answer


def with_ids(sweep: Sweep) -> Sweep:
    """The sweep as jobs of one array of SLURM."""
    return replace(sweep, jobs=[replace(job, id=f"77_{job.number}") for job in sweep.jobs])


def test_a_job_runs_and_is_lost_when_its_process_is_killed(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, process=os.getpid())
    assert state_of(sweep)[0] == "WAITING"
    with run_job(sweep, 0) as process:
        assert state_of(sweep)[0] == "RUNNING"
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: state_of(sweep)[0] != "RUNNING")
    assert state_of(sweep) == ("LOST", f"its process {process.pid} is gone without an end")


def test_a_job_says_how_it_has_ended(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, process=GONE)
    say(sweep, 0, "done", GONE)
    say(sweep, 1, "failed", GONE, error="lower train.learning_rate.")
    say(sweep, 2, "interrupted", GONE)
    say(sweep, 3, "lost", GONE, error="it was ended by SIGKILL")
    assert [state_of(sweep, number) for number in range(4)] == [
        ("DONE", None),
        ("FAILED", "lower train.learning_rate."),
        ("INTERRUPTED", None),
        ("LOST", "it was ended by SIGKILL"),
    ]
    assert read_states(sweep).ended


def test_a_job_that_no_one_will_start_does_not_wait(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, process=GONE)
    assert state_of(sweep) == ("LOST", "the process that would have started it is gone")
    with suppress(KeyboardInterrupt), report_run(tmp_path, str):
        assert state_of(sweep)[0] == "WAITING"
        raise KeyboardInterrupt
    assert state_of(sweep) == ("INTERRUPTED", "the sweep was interrupted before it")


def test_a_cancelled_job_is_cancelled_once_it_has_ended(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, process=os.getpid())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / CANCEL).touch()
    assert state_of(sweep, 1)[0] == "CANCELLED"
    with run_job(sweep, 0):
        (tmp_path / "0" / CANCEL).touch()
        assert state_of(sweep)[0] == "RUNNING"
    assert state_of(sweep)[0] == "CANCELLED"
    say(sweep, 0, "done")
    assert state_of(sweep)[0] == "DONE"  # it was faster


def test_a_job_of_another_machine_is_believed_while_it_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path, process=GONE)
    say(sweep, 0, "running", GONE, host="node7")
    assert state_of(sweep)[0] == "RUNNING"
    monkeypatch.setattr(states, "SILENT_SECONDS", -1.0)
    state, reason = state_of(sweep)
    assert state == "LOST" and reason is not None and reason.startswith("no sign of life from node7 since 20")


@pytest.mark.parametrize(
    ("said", "in_slurm", "expected"),
    [
        (None, "PENDING", "WAITING"),
        (None, "RUNNING", "RUNNING"),
        (None, None, "LOST"),
        (None, "CANCELLED", "CANCELLED"),
        ("running", "RUNNING", "RUNNING"),
        ("running", "COMPLETING", "RUNNING"),
        ("running", "SUSPENDED", "RUNNING"),
        ("running", None, "LOST"),
        ("running", "NODE_FAIL", "LOST"),
        ("running", "PENDING", "WAITING"),  # queued again after its node went down
        ("interrupted", "PENDING", "WAITING"),
        ("interrupted", "RUNNING", "RUNNING"),  # its next attempt is starting
        ("interrupted", "TIMEOUT", "INTERRUPTED"),
        ("interrupted", "CANCELLED", "CANCELLED"),
        ("failed", "COMPLETING", "FAILED"),
        ("done", "PENDING", "DONE"),
    ],
)
def test_what_slurm_knows_decides(
    said: str | None, in_slurm: str | None, expected: str, tmp_path: Path, squeue: Callable[..., Path]
) -> None:
    sweep = with_ids(make_sweep(tmp_path, launcher="slurm"))
    asked = squeue(f"77_0|{in_slurm}\\n" if in_slurm else "77_9|RUNNING\\n")
    if said is not None:
        say(sweep, 0, said, GONE, host="node7", updated="2026-01-01T00:00:00+00:00")
    assert state_of(sweep)[0] == expected
    assert len(asked.read_text().splitlines()) == 1 and "--jobs=77" in asked.read_text()


def test_one_of_several_in_a_job_of_slurm_is_lost_alone(tmp_path: Path, squeue: Callable[..., Path]) -> None:
    sweep = with_ids(make_sweep(tmp_path, launcher="slurm"))
    squeue("77_0|RUNNING\\n77_1|RUNNING\\n")
    say(sweep, 0, "running", os.getpid())
    say(sweep, 1, "lost", GONE, error="it was ended by SIGKILL")
    assert state_of(sweep, 0)[0] == "RUNNING"
    assert state_of(sweep, 1) == ("LOST", "it was ended by SIGKILL")


def test_slurm_that_has_forgotten_all_jobs_is_an_answer(tmp_path: Path, squeue: Callable[..., Path]) -> None:
    sweep = with_ids(make_sweep(tmp_path, launcher="slurm"))
    squeue(status=1, error="slurm_load_jobs error: Invalid job id specified\\n")
    assert state_of(sweep) == ("LOST", "it is not in SLURM's queue any more") and read_states(sweep).unknown is None


def test_slurm_that_does_not_answer_makes_no_job_lost(tmp_path: Path, squeue: Callable[..., Path]) -> None:
    sweep = with_ids(make_sweep(tmp_path, launcher="slurm"))
    squeue(status=1, error="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\\n")
    say(sweep, 1, "running", GONE, host="node7")
    state = read_states(sweep)
    assert [job.state for job in state.jobs] == ["WAITING", "RUNNING", "WAITING", "WAITING"]
    assert state.unknown == "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
