"""The other workers of a run: processes that take some of its units of work, each on a device of its own."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tdattr.jobs import WARNING, ignored, spares_ending
from tdattr.pipeline.workspace import Workspace
from tdattr.wording import counted

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
MODULE = "tdattr.pipeline.worker"
LAST_WORDS_SECONDS = 10.0  # until the processes of a worker that was ended, such as loaders, have ended too


@contextmanager
def share_work(ws: Workspace, config: Path) -> "Iterator[Others]":
    """While this lasts, ``workers`` - 1 other processes do units of what the saved ``config`` asks for.

    They are started when there is first something to share out, so that what all need, such as F1, has been built by
    this process with all its threads; from then on it has its share of these. They end with this process, however that
    ends. What they say stands in its log, once; one that fails, or is killed, costs nothing but its unit.
    """
    others = Others(ws, config)
    ws.store.call_workers = others.start
    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(others.said)
    try:
        yield others
    finally:
        others.end()
        for handler in handlers:
            handler.removeFilter(others.said)


class Others:
    """The processes; none before ``start``."""

    def __init__(self, ws: Workspace, config: Path) -> None:
        self.ws, self.config = ws, config
        self.said = Said()
        self.processes: list[subprocess.Popen[str]] = []
        self.relays: list[threading.Thread] = []
        self.ending = False

    def start(self) -> None:
        """Start them, unless they have been."""
        if self.processes:
            return
        cores = self.ws.trainer.threads or max(1, torch.get_num_threads() // self.ws.workers)
        spared = (*WARNING, *([signal.SIGTERM] if spares_ending() else ()))
        for worker in range(1, self.ws.workers):
            with ignored(*spared):  # which may be sent to all processes of a job before a worker has begun to listen
                process = subprocess.Popen(
                    [sys.executable, "-m", MODULE, str(self.config)],
                    env=os.environ | self.environment(worker, cores),
                    stdin=subprocess.PIPE,  # whose end says that this process has ended
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # a terminal's Ctrl+C is for this process, which ends the others
                )
            self.processes.append(process)
            self.relays.append(threading.Thread(target=self.relay, args=(worker, process), daemon=True))
            self.relays[-1].start()
        if self.processes:
            log.info("Sharing the work with %s.", counted(len(self.processes), "other worker"))
            torch.set_num_threads(cores)

    def environment(self, worker: int, cores: int) -> dict[str, str]:
        """What the environment tells a worker: its device, its cores, and where this process finds its modules."""
        own = {"OMP_NUM_THREADS": str(cores), "PYTHONPATH": os.pathsep.join(sys.path), "TQDM_DISABLE": "1"}
        if self.ws.device.type == "cuda":
            own[VISIBLE] = ",".join(choose_devices(worker, self.ws.trainer.devices, visible_devices()))
        return own

    def relay(self, worker: int, process: "subprocess.Popen[str]") -> None:
        """Say what a worker says, and how it has ended where that was too early."""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if line.strip() and self.said.for_the_first_time(line.rstrip(), worker):
                    log.warning("Worker %d: %s", worker, line.rstrip())
        status = process.wait()
        if status and not self.ending:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else "has failed, as said above"
            log.warning("Worker %d %s: the others do its share.", worker, how)

    def end(self) -> None:
        """End those that are still there."""
        self.ending = True
        for process in self.processes:
            process.kill()
        for process, relay in zip(self.processes, self.relays, strict=True):
            process.wait()
            relay.join(LAST_WORDS_SECONDS)
            assert process.stdin is not None
            process.stdin.close()
        self.processes, self.relays = [], []


class Said(logging.Filter):
    """Leaves out the warnings that another worker has given already: all of them read the same data."""

    def __init__(self) -> None:
        super().__init__()
        self.by: dict[str, int] = {}  # which worker was the first to say something

    def for_the_first_time(self, text: str, worker: int) -> bool:
        """Whether no other worker has said it."""
        return self.by.setdefault(text, worker) == worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show what this process says."""
        return record.levelno < logging.WARNING or self.for_the_first_time(record.getMessage(), 0)


def visible_devices() -> list[str]:
    """The names of the CUDA devices that this process may use."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def choose_devices(worker: int, needed: int, visible: Sequence[str]) -> list[str]:
    """Those of a worker that needs so many: the next ones in turn, from the first again where there are no more."""
    return [visible[(worker * needed + index) % len(visible)] for index in range(needed)]
