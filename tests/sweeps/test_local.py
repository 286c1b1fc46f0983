"""Several jobs at once on this machine: in the slots that there are, and none is lost from sight."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tdattr.errors import UserError
from tdattr.run_status import INTERRUPTED, end_status, read_status
from tdattr.sweeps.local import run_jobs
from tdattr.sweeps.record import Sweep, read_sweep
from tdattr.sweeps.wait import wait


def run(sweep: Sweep, slots: list[dict[str, str]]) -> int:
    """Run all jobs."""
    return run_jobs(sweep, [job.number for job in sweep.jobs], slots, lambda: True)


def test_a_slot_runs_one_job_at_a_time_and_none_stays_empty(make_sweep: Callable[..., Sweep]) -> None:
    script = """
slot = os.environ["CUDA_VISIBLE_DEVICES"]
(folder / f"in {slot}").mkdir()  # fails where another job has the slot
if number < 2:
    while not (folder / "in 5").exists() or not (folder / "in 7").exists():  # both run at once
        time.sleep(0.01)
    (place / "met").touch()
    while not all((folder / str(n) / "met").exists() for n in (0, 1)):
        time.sleep(0.01)
(folder / f"in {slot}").rmdir()
status(state="done", slot=slot)
"""
    sweep = make_sweep(script, 5)
    assert run(sweep, [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"}]) == 0
    assert {read_status(sweep.folder / job.folder)["slot"] for job in sweep.jobs} == {"5", "7"}
    assert wait(sweep, range(5)) == {}


def test_a_job_that_dies_is_noted_and_the_others_run(make_sweep: Callable[..., Sweep]) -> None:
    script = """
print("hello", number, flush=True)
if number == 0: os.kill(os.getpid(), signal.SIGKILL)
if number == 1: sys.exit(3)
if number == 2: status(state="failed", error="Raise it."); sys.exit(1)
status(state="done")
"""
    sweep = make_sweep(script, 4)
    assert run(sweep, [{}]) == 137
    assert wait(sweep, range(4)) == {
        0: "it is lost: it was ended by SIGKILL, perhaps because the memory was full: the same command resumes it.",
        1: "it ended with status 3: the same command resumes it.",
        2: "Raise it.",
    }
    assert [(sweep.folder / job.log).read_text() for job in sweep.jobs] == [f"hello {n}\n" for n in range(4)]


def test_a_signal_ends_the_jobs_and_starts_no_other(make_sweep: Callable[..., Sweep]) -> None:
    script = """
signal.signal(signal.SIGTERM, lambda *_: (status(state="interrupted"), sys.exit(143)))
status(state="running")
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
    sweep = make_sweep(script, 3)
    assert run(sweep, [{}]) == 143
    said = [read_status(sweep.folder / job.folder) for job in sweep.jobs]
    assert said[0]["state"] == "interrupted" and said[1:] == [None, None]
    end_status(sweep.folder, INTERRUPTED, None)  # as the process says that runs the jobs
    failed = wait(sweep, range(3))
    assert failed[0] == "it is interrupted: the same command resumes it."
    assert failed[2] == "it is interrupted: the sweep was interrupted before it: the same command resumes it."


def test_the_jobs_end_with_the_command(make_sweep: Callable[..., Sweep]) -> None:
    """However it ends: what runs them notices that it is gone."""
    sweep = make_sweep('status(state="running")\ntime.sleep(60)', 1)
    sweep.write()
    code = """
import sys
from pathlib import Path
from tdattr.sweeps.local import end_with_parent, run_jobs
from tdattr.sweeps.record import read_sweep
end_with_parent()
sys.exit(run_jobs(read_sweep(Path(sys.argv[1])), [0], [{}], lambda: True))
"""
    pool = subprocess.Popen([sys.executable, "-c", code, str(sweep.folder)], stdin=subprocess.PIPE)
    try:
        while not read_status(sweep.folder / "0"):
            time.sleep(0.05)
        pool.stdin.close()
        assert pool.wait(timeout=60) == 143
    finally:
        pool.kill()
        pool.wait()
    assert read_status(sweep.folder / "0")["error"] == "it was ended by SIGTERM: the same command resumes it."


def test_what_was_started_can_be_read_again(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep("", 2)
    sweep.write()
    assert read_sweep(sweep.folder) == sweep
    with pytest.raises(UserError, match="There is no sweep in .*: it has no sweep.json."):
        read_sweep(sweep.folder / "elsewhere")
