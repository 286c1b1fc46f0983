"""The other workers of a run: when they start, what becomes of what they say, and that they end."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tdattr.pipeline import workers
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.workers import Others, choose_devices, share_work, visible_devices
from tdattr.pipeline.workspace import Workspace
from tdattr.store import Store, share_out
from tests.conftest import CONF

FOREVER = "import sys, time; print('ready', file=sys.stderr, flush=True); time.sleep(1000)"
log = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A run gives them back itself."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    """That of a run of two workers."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["dataset=digits", "workers=2", "trainer.accelerator=cpu"])


@pytest.fixture
def ws(cfg: DictConfig, tmp_path: Path) -> Workspace:
    """What is known of the run."""
    ws = open_workspace(cfg.copy())
    ws.store = Store(tmp_path / "artifacts", "cpu")
    return ws


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """``worker(code)``: a worker runs this, and is given that config."""

    def make(code: str) -> Path:
        (tmp_path / "stand_in.py").write_text(code)
        monkeypatch.setattr(workers, "MODULE", "stand_in")
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path / "config.yaml"

    return make


def await_line(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until something is said."""
    deadline = time.monotonic() + 100
    while text not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.02)
    assert text in caplog.text


def test_they_start_with_the_first_work_that_can_be_shared(ws: Workspace, worker: Callable[[str], Path]) -> None:
    """So that what all wait for is built by one, which shows it, and with all threads."""

    def plans(*numbers: int) -> list[Any]:
        return [ws.store.plan("unit", 1, {"number": number}, {}, lambda folder: None) for number in numbers]

    torch.set_num_threads(4)
    with share_work(ws, worker(FOREVER)) as others:
        share_out(plans(0))
        assert not others.processes and torch.get_num_threads() == 4
        share_out(plans(0, 1))
        share_out(plans(7, 8), workers=False)
        assert not others.processes
        share_out(plans(1, 2, 3))
        [process] = others.processes
        assert process.poll() is None and torch.get_num_threads() == 2
        share_out(plans(4, 5))
        assert others.processes == [process]
    assert process.returncode == -signal.SIGKILL


def test_one_worker_starts_none(ws: Workspace, worker: Callable[[str], Path]) -> None:
    ws.workers = 1
    others = Others(ws, worker(FOREVER))
    others.start()
    assert not others.processes
    others.end()


def test_what_another_worker_warns_of_is_said_once(
    ws: Workspace, worker: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    code = "import sys; print('of the data\\nof its own\\nand so on', file=sys.stderr, flush=True); sys.stdin.read()"
    with caplog.at_level("INFO"), share_work(ws, worker(code)) as others:
        log.warning("of the data")
        others.start()
        await_line(caplog, "Worker 1: and so on")
        log.warning("of its own")
        log.warning("of the data")  # what one says twice is said twice
        log.info("and so on")
    said = [message for message in caplog.messages if "Sharing" not in message]
    assert said == ["of the data", "Worker 1: of its own", "Worker 1: and so on", "of the data", "and so on"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('No space left.')", ["Worker 1: No space left.", "Worker 1 has failed, as said above: "]),
        ("import os; os.kill(os.getpid(), 9)", ["Worker 1 was ended by SIGKILL: the others do its share."]),
        ("1 / 0", ["Worker 1: Traceback", "Worker 1: ZeroDivisionError: division by zero", "Worker 1 has failed"]),
        ("", []),
    ],
)
def test_how_a_worker_ends_is_said(
    ws: Workspace, worker: Callable[[str], Path], caplog: pytest.LogCaptureFixture, code: str, said: list[str]
) -> None:
    others = Others(ws, worker(code))
    with caplog.at_level("WARNING"):
        others.start()
        others.relays[0].join(100)
    assert not others.relays[0].is_alive()
    for line in said:
        assert any(message.startswith(line) for message in caplog.messages), caplog.messages
    assert said or not caplog.messages
    others.end()


def test_they_end_with_a_run_that_fails(
    ws: Workspace, worker: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    processes: list[Any] = []

    def fail() -> None:
        with share_work(ws, worker(FOREVER)) as others:
            others.start()
            processes.extend(others.processes)
            await_line(caplog, "ready")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert processes[0].returncode == -signal.SIGKILL and "ended by" not in caplog.text


@pytest.mark.parametrize("spared", [False, True])
def test_signals_for_all_processes_of_a_job_end_none_that_has_just_begun(
    ws: Workspace, worker: Callable[[str], Path], caplog: pytest.LogCaptureFixture, spared: bool
) -> None:
    """SIGTERM is among them where submitit lets it pass. What listened here before does so again."""
    asked = "signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM"
    code = f"import signal, sys; print(*(int(signal.getsignal(s)) for s in ({asked})), file=sys.stderr, flush=True)"
    before = signal.signal(signal.SIGTERM, (lambda number, frame: None) if spared else signal.SIG_DFL)
    try:
        handlers = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
        with caplog.at_level("WARNING"), share_work(ws, worker(code)) as others:
            others.start()
            await_line(caplog, f"Worker 1: 1 1 {int(spared)}")
        assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == handlers
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_launcher_gives_a_job_cores_for_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for given, workers, expected in (("8", 2, 4), ("2", 4, 1), ("3", 1, 3), ("", 2, None)):
            monkeypatch.setenv("TDATTR_THREADS", given)
            assert compose("config", [f"workers={workers}"]).trainer.threads == expected


def test_each_has_a_device_and_its_share_of_the_cores(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-5,6")
    assert visible_devices() == ["4", "GPU-5", "6"]
    assert [choose_devices(worker, 1, visible_devices()) for worker in range(4)] == [["4"], ["GPU-5"], ["6"], ["4"]]
    assert [choose_devices(worker, 2, visible_devices()) for worker in range(2)] == [["4", "GPU-5"], ["6", "4"]]
    others = Others(ws, Path("config.yaml"))
    environment = others.environment(1, 3)
    assert environment["OMP_NUM_THREADS"] == "3" and "CUDA_VISIBLE_DEVICES" not in environment
    assert environment["PYTHONPATH"] == os.pathsep.join(sys.path)
    ws.device = torch.device("cuda")
    assert others.environment(2, 3)["CUDA_VISIBLE_DEVICES"] == "6"
