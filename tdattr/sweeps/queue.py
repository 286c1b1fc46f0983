"""What SLURM says of the jobs of a sweep: one question for all of them, and no need of its accounting."""

import os
import subprocess
from collections.abc import Iterable

ASK_SECONDS = 5.0  # for which an answer is worth waiting
FINISHED_SECONDS = 300  # for how long SLURM usually remembers a job that has ended (MinJobAge)
UNKNOWN_JOB = "Invalid job id"  # what squeue says where it remembers none of those that it was asked for
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING")
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)


class NoAnswer(Exception):
    """SLURM cannot be asked; the message says why."""


def ask(ids: Iterable[str]) -> dict[str, str]:
    """The state of every job that SLURM still knows, of those with these ids; ``123_4`` is a job of an array.

    Raises NoAnswer.
    """
    arrays = sorted({number.partition("_")[0] for number in ids})
    if not arrays:
        return {}
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={','.join(arrays)}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, env=plain_environment())
    except FileNotFoundError:
        raise NoAnswer("there is no squeue on this machine") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"squeue has not answered for {ASK_SECONDS:.0f} s") from None
    if answer.returncode and UNKNOWN_JOB not in answer.stderr:
        raise NoAnswer((answer.stderr.strip() or f"squeue ended with status {answer.returncode}").splitlines()[-1])
    pairs = (line.strip().partition("|") for line in answer.stdout.splitlines())
    return {number: state for number, _, state in pairs if state}


def plain_environment() -> dict[str, str]:
    """Without the variables by which a user has squeue answer in another form."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
