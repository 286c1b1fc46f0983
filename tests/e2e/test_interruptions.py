"""A signal ends a command wherever it is, with a status and a sentence; what fails in a sweep fails alone."""

import os
import re
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tdattr.cli import FULL_ERROR
from tdattr.errors import UserError
from tdattr.jobs import RANKS
from tdattr.loggers.csv import CSV
from tdattr.pipeline import generate
from tdattr.pipeline import run as running
from tdattr.training.pretrain import Keeper
from tests.e2e.console import TINY, tdattr

RANDOM = [*TINY, "method=random"]


def in_training(patch: pytest.MonkeyPatch, number: int) -> None:
    """The signal comes in a training, after its first checkpoint."""
    end = Keeper.on_train_batch_end

    def send(self: Keeper, trainer: object, *rest: object) -> None:
        end(self, trainer, *rest)
        if trainer.global_step == 6:
            os.kill(os.getpid(), number)

    patch.setattr(Keeper, "on_train_batch_end", send)


def in_generation(patch: pytest.MonkeyPatch, number: int) -> None:
    """The signal comes when images are generated."""
    patch.setattr(generate, "sample", lambda *_, **__: os.kill(os.getpid(), number))


def in_check(patch: pytest.MonkeyPatch, number: int) -> None:
    """The signal comes before anything is computed."""
    patch.setattr(running, "check", lambda *_, **__: os.kill(os.getpid(), number))


def in_library(patch: pytest.MonkeyPatch, number: int) -> None:
    """The signal reaches a process that the job has started first, whose end is an error to the job."""

    def fail(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            raise RuntimeError("DataLoader worker is killed")

    patch.setattr(running, "check", fail)


@pytest.mark.parametrize(
    ("where", "number"),
    [
        (in_training, signal.SIGTERM),
        (in_training, signal.SIGINT),
        (in_training, signal.SIGUSR2),
        (in_generation, signal.SIGINT),
        (in_generation, signal.SIGUSR1),
        (in_check, signal.SIGTERM),
        (in_library, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_run(
    where: Callable[..., None], number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    where(monkeypatch, number)
    done = tdattr(*RANDOM, folder=tmp_path, check=False)
    assert done.returncode == 128 + number
    assert f"\n{done.stderr}".endswith(f"\nInterrupted by {number.name}: run the same command again to resume.\n")
    assert "Traceback" not in done.stderr and "error: " not in done.stderr
    assert not list(tmp_path.glob("outputs/runs/**/summary.json"))
    assert signal.getsignal(number) == before
    if where is in_training:
        monkeypatch.undo()
        assert "Training F1 resumes after " in tdattr(*RANDOM, folder=tmp_path).stderr


def test_a_signal_ends_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_training(monkeypatch, signal.SIGTERM)
    done = tdattr("-m", "seed=1,2", *RANDOM, folder=tmp_path, check=False)
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1] == (
        "Interrupted by SIGTERM in job #0 of the sweep; no later job was started: the same command resumes there."
    )
    assert done.stderr.count("Training F1: 12 steps") == 1


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        in_training(monkeypatch, signal.SIGINT)
        assert "Results: " in tdattr(*RANDOM, folder=tmp_path).stderr
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_job_of_a_sweep_fails_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """It diverges; the next job has files and a W&B run of its own, and finishes."""
    before = dict(os.environ)
    sweep = ["-m", "train.learning_rate=1e30,1e-3", *RANDOM, "logger=wandb", "logger.offline=true"]
    done = tdattr(*sweep, folder=tmp_path, check=False)
    assert all(os.environ.get(name) == before.get(name) for name in (*RANKS, "WANDB_MODE", FULL_ERROR))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = "^Job #0 .train.learning_rate=1e\\+30 .*has failed: Training F1: the .* lower train.learning_rate.$"
    assert re.search(said, done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1] == (
        "error: job #0 of the sweep has failed, as said above; the other jobs are finished."
    )
    assert [path.parent.name for path in tmp_path.glob("outputs/runs/**/summary.json")] == ["1"]
    for job in ("0", "1"):
        [folder] = tmp_path.glob(f"outputs/runs/*/{job}")
        [kept] = folder.glob("wandb/offline-run*")
        assert kept.name.endswith((folder / "run_id").read_text().strip())
    assert len({path.read_text() for path in tmp_path.glob("outputs/runs/*/*/run_id")}) == 2


def test_a_logger_that_fails_at_the_end_costs_a_run_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("no network")

    monkeypatch.setattr(CSV, "finish", fail)
    done = tdattr(*RANDOM, folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "Results: " in done.stderr and done.stderr.endswith("error: no network\n")


def test_what_a_run_sets_for_the_process_ends_with_it() -> None:
    before = torch.get_num_threads(), list(warnings.filters)

    @running.own_settings()
    def fail() -> None:
        torch.set_num_threads(before[0] + 1)
        assert warnings.filters != before[1]
        raise UserError("why")

    with pytest.raises(UserError):
        fail()
    assert (torch.get_num_threads(), list(warnings.filters)) == before
