"""A command is a job of its own: signals end it in one way wherever it is, and it takes no rank from an outer job."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)  # of a terminal's Ctrl+C; of SLURM, systemd, CI and `timeout`
STOP = signal.SIGTERM  # by which one process of a job asks another to end and to leave what it resumes from
WARNING = (signal.SIGUSR1, signal.SIGUSR2)  # of SLURM before a time limit (sbatch --signal), and of submitit
MOST_NAMED = 10  # jobs in a sentence
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


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def join_names(jobs: Sequence[str]) -> str:
    """``job #1``, ``jobs #1, #2 and #4``, or how many there are."""
    if len(jobs) > MOST_NAMED:
        return f"{len(jobs)} jobs"
    return f"job {jobs[0]}" if len(jobs) == 1 else f"jobs {', '.join(jobs[:-1])} and {jobs[-1]}"


class Interrupted(BaseException):
    """A signal ends the command. No Exception, so that nothing takes it for a job that has failed. ``explained``: what
    is said of it, where that is not the same for every command."""

    def __init__(self, number: int, explained: str | None = None) -> None:
        super().__init__(number)
        self.number, self.explained = number, explained


class Listener:
    """Raises Interrupted at the first signal of those that it listens to; a second one ends the process at once.
    ``received``: those that have come."""

    def __init__(self) -> None:
        self.received: list[int] = []
        ending = {number: signal.getsignal(number) for number in ENDING}
        warning = {number: signal.getsignal(number) for number in WARNING}
        self.before = {number: handler for number, handler in ending.items() if handler != signal.SIG_IGN}
        self.before |= {number: handler for number, handler in warning.items() if handler == signal.SIG_DFL}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        for other in self.before:
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(number)


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """While this lasts, the signals of ``ENDING`` and ``WARNING`` raise Interrupted in the main thread. Gives the
    signals that have come.

    A signal that was ignored before stays ignored (``nohup``, commands that a script starts in the background), and a
    warning to which another one listens stays his.
    """
    listener = Listener()
    for number in listener.before:
        signal.signal(number, listener)
    try:
        yield listener.received
    finally:
        for number, handler in listener.before.items():
            signal.signal(number, handler)


def spares_ending() -> bool:
    """Whether SIGTERM is let pass by whoever listens to it, such as submitit: it must end no process of the job."""
    handler = signal.getsignal(signal.SIGTERM)
    return handler not in (signal.SIG_DFL, None) and not isinstance(handler, Listener)


@contextmanager
def ignored(*numbers: int) -> Iterator[None]:
    """While this lasts, processes that are started ignore those signals from their first moment on."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals(*numbers: int) -> None:
    """In a process that a command has started: what a terminal or a scheduler sends to all processes is left to the
    command, which ends those that it has started."""
    for number in (*WARNING, *numbers):
        signal.signal(number, signal.SIG_IGN)


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
