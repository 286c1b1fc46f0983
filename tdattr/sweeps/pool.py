"""Starting the process that runs the jobs of a sweep on this machine, which is `tdattr.sweeps.local` as a program."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from tdattr.jobs import STOP
from tdattr.run_status import forget_status
from tdattr.sweeps.record import Sweep

PROGRAM = "tdattr.sweeps.local"
POOL_LOG = ".local.log"  # of that process
HELD: list["subprocess.Popen[bytes]"] = []  # whose standard input stays open for as long as this process is there


def start_pool(sweep: Sweep, numbers: Sequence[int], detached: bool) -> int:
    """Start the process that runs those jobs. It ends them, and itself, when this process is gone; where it is
    ``detached``, it ends after the last job. The pool of an earlier batch has ended before, and is forgotten."""
    for earlier in HELD:
        earlier.wait()
    forget_status(sweep.folder)
    command = [sys.executable, "-m", PROGRAM, str(sweep.folder), json.dumps(list(numbers)), json.dumps(detached)]
    with (sweep.folder / POOL_LOG).open("a") as output:
        pool = subprocess.Popen(
            command,
            cwd=sweep.code,
            env=os.environ | sweep.environment,
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a terminal's Ctrl+C reaches the command, which says what becomes of the jobs
        )
    HELD.append(pool)
    return pool.pid


def end_pools() -> None:
    """End the processes that this one has started, and so their jobs."""
    for pool in HELD:
        if pool.poll() is None:
            pool.send_signal(STOP)
    for pool in HELD:
        pool.wait()
