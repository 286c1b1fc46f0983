"""A job of SLURM stops when it is told that its time is nearly over, and is queued again if it may be."""

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tdattr.sweeps import job, task
from tdattr.sweeps.job import SlurmJob
from tdattr.sweeps.record import Sweep

submitit = pytest.importorskip("submitit")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Jobs do nothing but learn from SLURM that they must end; those that have been asked to stop."""
    stopped: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2)}

    def run(folder: object, number: int) -> int:
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(number))
        signal.raise_signal(signal.SIGUSR2)
        return 143

    monkeypatch.setattr(job, "run", run)
    yield stopped
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_job_stops_before_it_is_queued_again(make_sweep: Callable[..., Sweep], told: list[int]) -> None:
    queued: list[list[int]] = []
    signal.signal(signal.SIGUSR2, lambda *_: queued.append(list(told)))  # as submitit does
    with pytest.raises(SystemExit) as end:
        SlurmJob(str(make_sweep("", 2).folder), (1,))()
    assert end.value.code == 143
    assert queued == [[1]]


def test_a_job_that_may_not_be_queued_again_says_why(make_sweep: Callable[..., Sweep], told: list[int]) -> None:
    def refuse(*_: object) -> None:
        raise submitit.core.utils.UncompletedJobError("timed-out too many times")

    signal.signal(signal.SIGUSR2, refuse)
    sweep = make_sweep("", 2)
    sweep.write()
    with pytest.raises(SystemExit):
        SlurmJob(str(sweep.folder), (1,))()
    status = json.loads((sweep.folder / "1" / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", job.TIME_OVER)
    assert not (sweep.folder / "0").exists()


def test_every_task_but_the_first_does_a_share_alone(
    make_sweep: Callable[..., Sweep], told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[tuple[int, int]] = []
    monkeypatch.setattr(task, "run_task", lambda folder, number, local_rank: shares.append((number, local_rank)) or 7)
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    with pytest.raises(SystemExit) as end:
        SlurmJob(str(make_sweep("", 2).folder), (1,))()
    assert (end.value.code, shares, told) == (7, [(1, 1)], [])


def test_signals_beside_the_warning_write_nothing(
    make_sweep: Callable[..., Sweep], told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come while lines are written, and a line within a line is an error of Python's."""
    written: list[int] = []
    for number in (signal.SIGTERM, signal.SIGCONT):
        signal.signal(number, lambda number, _: written.append(number))  # as submitit does

    def run(folder: object, number: int) -> int:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGCONT)
        return 3

    monkeypatch.setattr(job, "run", run)
    with pytest.raises(SystemExit) as end:
        SlurmJob(str(make_sweep("", 2).folder), (1,))()
    assert (end.value.code, written) == (3, [])
