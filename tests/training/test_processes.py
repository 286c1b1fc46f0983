"""Trainings in several processes, and trainings that Lightning ends by itself."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tdattr.errors import UserError
from tdattr.jobs import RANKS, Interrupted, interruptible, own_job
from tdattr.training.pretrain import RESUME, Keeper, pretrain
from tdattr.training.quiet import quieten
from tests.e2e.console import TINY

CODE = "import sys; from tdattr.cli import main; sys.argv[0] = 'tdattr'; main()"
LONG = [*(value for value in TINY if "train." not in value), "train.steps=100000", "train.epoch_steps=5"]


@pytest.fixture
def train(tiny_data, tiny_dit, tiny_train, tiny_trainer, edm, tmp_path):
    """Run a training on so many devices."""

    def run(devices=1, **overrides):
        network, trainer = tiny_dit(augmentation_label=False), tiny_trainer(devices=devices)
        return pretrain(network, tiny_data, np.arange(48), edm, tiny_train(**overrides), trainer, 3, tmp_path, "test")

    return run


def test_signals_that_no_command_listens_to_are_no_success(train, monkeypatch):
    """In a script of the user's, where Lightning listens."""
    for number, expected in ((signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)):
        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "on_train_start", lambda *_, number=number: os.kill(os.getpid(), number))
            patch.setattr(Keeper, "on_train_batch_end", lambda *_: None)
            with pytest.raises(expected):
                train()


def test_a_second_signal_is_not_caught():
    with interruptible() as received:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_signals_to_which_another_one_listens_stay_his(train, monkeypatch):
    """As in a job of submitit's, which lets SIGTERM pass and ends with SIGUSR2, once the job is queued again."""
    passed = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}

    def end(self, trainer, *rest):
        os.kill(os.getpid(), signal.SIGUSR2 if trainer.global_step == 3 else signal.SIGTERM)

    monkeypatch.setattr(Keeper, "on_train_batch_end", end)
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: passed.append(number))
        signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(7))
        with pytest.raises(SystemExit) as ended:
            train()
        assert ended.value.code == 7
        assert passed == [signal.SIGTERM] * 2
        with interruptible():
            assert signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
            with pytest.raises(SystemExit):
                os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_ranks_of_an_outer_job_are_out_of_sight_for_a_while(monkeypatch):
    for name in RANKS:
        monkeypatch.setenv(name, "1")
    with own_job():
        assert not set(RANKS) & set(os.environ)
        os.environ["MASTER_PORT"] = "2"
    assert {os.environ[name] for name in RANKS} == {"1"}


def test_nothing_is_said_of_a_scheduler(train, monkeypatch, tmp_path):
    """Where there is an ``srun``, which Lightning recommends."""
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quieten()
        train()
    assert not [warning.message for warning in said if "srun" in str(warning.message)]


@pytest.mark.slow  # two processes that each import everything
def test_ranks_warn_of_nothing(train, monkeypatch, tmp_path, capfd):
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with warnings.catch_warnings():
        quieten()
        train(devices=2)
    said = capfd.readouterr().err
    assert "Warning" not in said and "deprecated" not in said


@pytest.mark.slow  # two processes that each import everything
def test_a_training_that_diverges_on_two_devices_ends_with_a_sentence(train, monkeypatch):
    """And they find each other whatever an outer job has told."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="test: the .*loss is .*; lower train.learning_rate"):
        train(devices=2, learning_rate=1e30, steps=300, epoch_steps=4)


@pytest.mark.slow  # a process that imports everything
def test_a_command_takes_no_rank_from_the_job_that_it_is_started_in(tmp_path):
    """Lightning reads it when it is imported, and its loggers then write nothing."""
    outer = dict.fromkeys(RANKS, "1") | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}
    command = [sys.executable, "-c", CODE, *TINY, "method=random", "train.steps=50", f"paths.outputs={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | outer, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [table] = tmp_path.glob("runs/*/metrics/metrics.csv")
    assert {"train/loss", "train/validation_loss", "metrics/ssim/auc"} <= set(
        table.read_text().splitlines()[0].split(",")
    )


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow  # three processes that each import everything
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_ranks_end_with_a_command_that_is_killed(tmp_path):
    """Where SIGINT is ignored, as under nohup, too."""
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {CODE}"
    command = [sys.executable, "-c", code, *LONG, "method=pixel", "trainer.devices=2", f"paths.outputs={tmp_path}"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    started: list[int] = []
    try:
        while process.poll() is None and not list(tmp_path.glob(f"artifacts/pretrain/.*.unfinished/{RESUME}")):
            time.sleep(0.1)
        started = children(process.pid)
        assert len(started) >= 2
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while any(map(is_running, started)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(is_running, started))
    finally:
        process.kill()
        for child in started:
            if is_running(child):
                os.kill(child, signal.SIGKILL)
