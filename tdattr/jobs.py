"""A command is a job of its own: signals end it in one way wherever it is, and it takes no rank from an outer job."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)  # of a terminal's Ctrl+C; of SLURM, systemd, CI and `timeout`
STOP = signal.SIGTERM  # by which one process of a job asks another to end and to leave what it resumes from
RANKS = (  # by which SLURM, torchrun and others tell a process which part of their job it is
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "JSM_NAMESPACE_RANK",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
)


class Interrupted(BaseException):
    """A signal ends the command. No Exception, so that nothing takes it for a job that has failed. ``explained``: what
    is said of it, where that is not the same for every command."""

    def __init__(self, number: int, explained: str | None = None) -> None:
        super().__init__(number)
        self.number, self.explained = number, explained


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """While this lasts, the signals of ``ENDING`` raise Interrupted in the main thread; a second one ends the process
    at once. Gives the signals that have come.

    A signal that was ignored before stays ignored (``nohup``, commands that a script starts in the background).
    """
    received: list[int] = []
    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(number)

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def own_job() -> Iterator[None]:
    """While this lasts, the environment says nothing of ranks: neither of those of an outer job, which another command
    may be a part of, nor afterwards of those of the processes that were started here."""
    outer = {name: os.environ.pop(name) for name in RANKS if name in os.environ}
    try:
        yield
    finally:
        for name in RANKS:
            os.environ.pop(name, None)
        os.environ.update(outer)
