"""A sweep that goes on without its terminal, and jobs that are started again."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tdattr.errors import UserError
from tdattr.run_status import read_status
from tdattr.sweeps import control
from tdattr.sweeps.control import cancel, retry
from tdattr.sweeps.pool import end_pools, start_pool
from tdattr.sweeps.record import Sweep, read_sweep
from tdattr.sweeps.states import read_states
from tests.sweeps.sweep import make_sweep, say, wait_for

PACKAGE = Path(__file__).parents[2] / "tdattr"
JOB = """
if __name__ == "__main__":
    import sys, time
    from pathlib import Path
    from tdattr.run_status import report_run
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    (folder / str(number)).mkdir(exist_ok=True)
    with report_run(folder / str(number), str, "job.log"):
        while not (folder / "go").exists():
            time.sleep(0.02)
    sys.exit(0)
"""
START = """
import sys
from pathlib import Path
from tdattr.sweeps.pool import start_pool
from tdattr.sweeps.record import read_sweep
print(start_pool(read_sweep(Path(sys.argv[1])), [0, 1, 2], True), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Three jobs, two at once, that wait until the file ``go`` is there."""
    code = tmp_path / ".code"
    shutil.copytree(PACKAGE, code / "tdattr", ignore=shutil.ignore_patterns("__pycache__"))
    job = code / "tdattr" / "sweeps" / "job.py"
    job.write_text(JOB + job.read_text())
    made = replace(make_sweep(tmp_path, 3), code=str(code), slots=[{}, {}])
    made.write()
    return made


def states(sweep: Sweep) -> list[str]:
    """Of all jobs."""
    return [job.state for job in read_states(read_sweep(sweep.folder)).jobs]


def end_all(folder: Path) -> None:
    """End whatever still runs below a sweep's folder."""
    for place in (folder, *(folder / str(number) for number in range(3))):
        status = read_status(place)
        if status is not None and status["state"] == "running":
            with suppress(ProcessLookupError):
                os.kill(status["pid"], signal.SIGKILL)


@pytest.mark.slow
def test_a_detached_sweep_survives_its_terminal_and_leaves_no_process(sweep: Sweep) -> None:
    """The terminal hangs up while two jobs run; one is killed, and later started again in its folder."""
    ours, its = pty.openpty()
    command = [sys.executable, "-c", START, str(sweep.folder)]
    shell = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    try:
        pool = int(os.read(ours, 100).split()[0])
        replace(sweep, process=pool).write()
        wait_for(lambda: states(sweep) == ["RUNNING", "RUNNING", "WAITING"])
        os.close(ours)
        os.killpg(shell.pid, signal.SIGHUP)
        shell.wait()
        assert states(sweep) == ["RUNNING", "RUNNING", "WAITING"]
        os.kill(read_status(sweep.folder / "1")["pid"], signal.SIGKILL)
        wait_for(lambda: states(sweep) == ["RUNNING", "LOST", "RUNNING"])
        assert "SIGKILL" in (read_states(sweep).jobs[1].reason or "")
        assert cancel(read_sweep(sweep.folder), [2]) == "Cancelled job #2; 1 of them ran and end now."
        wait_for(lambda: states(sweep) == ["RUNNING", "LOST", "CANCELLED"])
        (sweep.folder / "go").touch()
        wait_for(lambda: states(sweep) == ["DONE", "LOST", "CANCELLED"])
        wait_for(lambda: not Path(f"/proc/{pool}").exists())
        assert retry(read_sweep(sweep.folder), []) == "Started jobs #1 and #2 again."
        wait_for(lambda: states(sweep) == ["DONE", "DONE", "DONE"])
        assert sorted(path.name for path in sweep.folder.iterdir() if path.is_dir()) == [".code", "0", "1", "2"]
        assert retry(read_sweep(sweep.folder), []) == "Nothing to retry: jobs #0, #1 and #2 are done, or not at an end."
    finally:
        shell.kill()
        end_all(sweep.folder)


@pytest.mark.slow
def test_jobs_of_a_later_batch_are_not_told_by_the_end_of_the_one_before(sweep: Sweep) -> None:
    (sweep.folder / "go").touch()
    for number in (0, 1):
        sweep = replace(sweep, process=start_pool(sweep, [number], False))
        assert read_states(sweep).jobs[number].state == "WAITING"
        wait_for(lambda sweep=sweep, number=number: read_states(sweep).jobs[number].ended)
    assert [job.state for job in read_states(sweep).jobs[:2]] == ["DONE", "DONE"]
    end_pools()
    assert read_status(sweep.folder)["state"] == "done"


def test_jobs_are_started_again_once_the_others_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep is named by where it is from here, and its jobs start elsewhere."""
    monkeypatch.chdir(tmp_path.parent)
    started: list[tuple[Sweep, list[int]]] = []

    def start(sweep: Sweep, numbers: list[int], detached: bool) -> int:
        started.append((sweep, numbers))
        return 17

    monkeypatch.setattr(control, "start_pool", start)
    sweep = make_sweep(tmp_path, 3, launcher="basic", process=None)
    say(sweep, 0, "failed", error="why")
    say(sweep, 1, "running", os.getpid())
    say(sweep, 2, "done")
    with pytest.raises(UserError, match=r"^Job #1 has not ended: wait for it"):
        retry(sweep, [0])
    assert states(sweep)[0] == "FAILED"
    say(sweep, 1, "interrupted")
    assert retry(read_sweep(Path(tmp_path.name)), [0]) == "Started job #0 again."
    ((again, numbers),) = started
    assert numbers == [0] and again.launcher == "local" and again.slots == [{}] and again.folder == tmp_path
    assert [job.log for job in again.jobs] == ["0/job.log", "1/job.log", "2/job.log"]
    assert read_sweep(tmp_path).process == 17 and read_status(tmp_path / "0") is None
    for number in (0, 1):
        say(sweep, number, "interrupted")
    replace(sweep, launcher="local").write()  # before it had slots
    retry(read_sweep(tmp_path), [1])
    assert started[-1][0].slots == [{}]
