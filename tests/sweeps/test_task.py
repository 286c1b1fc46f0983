"""The further tasks of a job of SLURM: how they learn that the first has ended, and what they compose."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tdattr.run_status import CANCEL
from tdattr.sweeps import task
from tdattr.sweeps.record import Sweep
from tests.sweeps.sweep import make_sweep, say

Watch = Callable[[Callable[[int], None]], int]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep in whose job 0 this process is a further task, of its second attempt."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    return make_sweep(tmp_path)


@pytest.fixture
def watch(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """``watch(act)``: after how many looks this process is told to end; ``act(look)`` comes before each of them."""

    class End(Exception):
        pass

    def run(act: Callable[[int], None]) -> int:
        looks, told = [0], list[tuple[int, int]]()

        def sleep(seconds: float) -> None:
            if seconds == task.LOOK_SECONDS:
                looks[0] += 1
                act(looks[0])

        def leave(status: int) -> None:
            raise End

        monkeypatch.setattr(task.time, "sleep", sleep)
        monkeypatch.setattr(task.os, "kill", lambda *given: told.append(given))
        monkeypatch.setattr(task.os, "_exit", leave)
        with pytest.raises(End):
            task.end_with_first(sweep.folder / "0")
        assert told == [(os.getpid(), signal.SIGTERM)]
        return looks[0]

    return run


def test_a_task_ends_once_the_first_has(sweep: Sweep, watch: Watch) -> None:
    def act(look: int) -> None:
        say(sweep, 0, "done" if look in (1, 2, 5) else "running", os.getpid(), attempt="7.0" if look < 3 else "7.1")

    assert watch(act) == 5  # not by what the first attempt has said
    assert watch(lambda _: say(sweep, 0, "running", 2**22 + 1, attempt="7.1")) == 1  # its process is gone


def test_a_task_ends_when_the_first_is_silent(sweep: Sweep, watch: Watch) -> None:
    """A sign of life after 200 looks, from another machine."""
    first, second = "2026-01-01T00:00:00+00:00", "2025-01-01T00:00:00+00:00"  # its clock jumps
    said = {"host": "elsewhere", "attempt": "7.1", "started": first}

    def act(look: int) -> None:
        say(sweep, 0, "running", **said, updated=first if look < 200 else second)

    limit = round(task.SILENT_SECONDS / task.LOOK_SECONDS)
    assert watch(act) == 200 + limit
    (sweep.folder / "0" / "status.json").unlink()
    assert watch(lambda _: None) == limit


def test_a_task_of_a_cancelled_job_does_nothing(sweep: Sweep) -> None:
    (sweep.folder / "0").mkdir()
    (sweep.folder / "0" / CANCEL).touch()
    assert task.run_task(sweep.folder, 0, 1) == 0
    assert [path.name for path in (sweep.folder / "0").iterdir()] == [CANCEL]


def test_a_task_composes_what_the_first_does(sweep: Sweep) -> None:
    job = replace(sweep.job(2), overrides=["method=random", "seed=2", "logger=[csv,tensorboard]"])
    cfg = task.compose_job(sweep, job)
    assert (cfg.seed, cfg.method.name, [*cfg.logger.loggers]) == (2, "random", ["csv", "tensorboard"])
    assert cfg.hydra.job.num == 2 and cfg.hydra.runtime.output_dir == str(sweep.folder / "2")
    assert list(cfg.hydra.overrides.task)[:2] == ["method=random", "seed=2"]
    assert not (sweep.folder / "2").exists()
