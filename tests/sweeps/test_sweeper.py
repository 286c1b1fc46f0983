"""A sweep from its command to its end, with runs that take no time: what is new, what fails, what is left alone."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tdattr import cli
from tdattr.errors import UserError
from tdattr.run_status import CANCEL, is_running, read_status
from tdattr.sweeps import local, outcome, slurm
from tdattr.sweeps.earlier import read_earlier
from tdattr.sweeps.record import Sweep, read_sweep
from tdattr.sweeps.states import read_states
from tests.sweeps.sweep import say, wait_for

pytestmark = pytest.mark.slow
Run = Callable[..., SimpleNamespace]
CANCELLING = 99  # a seed whose job cancels job 2


def stage(cfg: DictConfig) -> None:
    """A run: it fails under some seeds, and otherwise leaves a verdict and a summary."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.seed == CANCELLING:
        (folder.parent / "2").mkdir()
        (folder.parent / "2" / CANCEL).touch()
    if cfg.seed > 90:
        raise UserError(f"seed={cfg.seed} is too much.")
    verdict = Path(cfg.paths.artifacts, "evaluate", f"{cfg.method.name}{cfg.seed}")
    verdict.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({"artifacts": {"evaluation": f"evaluate/{verdict.name}"}}))
    logging.getLogger(__name__).info("ran %s %d", cfg.method.name, cfg.seed)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("seed=1,2")`` is a sweep with these overrides: its status, what ran, its folder, and what was said."""
    monkeypatch.chdir(tmp_path)
    for name in ("TDATTR_OUTPUTS", "TDATTR_DATA", cli.FULL_ERROR):
        monkeypatch.delenv(name, raising=False)
    tables: list[list[Path]] = []
    monkeypatch.setattr(outcome, "show_tables", lambda console, folders: tables.append(folders))

    def start(*overrides: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["tdattr", "-m", *overrides])
        tables.clear()
        code = 0
        try:
            cli.compose_and_run(lambda: stage, cli.Jobs("config"))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capsys.readouterr()
        folders = sorted(Path("outputs/runs").glob("*")) if Path("outputs/runs").exists() else []
        ran = [line.removeprefix("ran ") for line in err.splitlines() if line.startswith("ran ")]
        return SimpleNamespace(code=code, ran=ran, folder=folders[-1] if folders else None, out=out, err=err, of=tables)

    return start


def test_the_same_command_with_one_more_runs_only_what_is_new(run: Run) -> None:
    first = run("method=random", "seed=1,2")
    assert (first.code, first.ran) == (0, ["random 1", "random 2"])
    more = run("method=random,pixel", "seed=1,2")
    assert (more.code, more.ran) == (0, ["pixel 1", "pixel 2"])
    assert "2 of 4 jobs were done by earlier runs; hydra.sweeper.again=true runs them again." in more.err
    assert [job.overrides for job in read_sweep(more.folder).jobs] == [
        ["method=pixel", "seed=1"],
        ["method=pixel", "seed=2"],
    ]
    earlier = [str((first.folder / number).absolute()) for number in "01"]
    assert [job.folder for job in read_earlier(more.folder)] == earlier
    assert f"Done earlier: method=random seed=1 ({first.folder / '0'})" in more.out.replace("\n", "")
    (shown,) = more.of
    assert sorted(map(str, shown)) == sorted([*earlier, *(str((more.folder / n).absolute()) for n in "01")])
    assert "2 done, 2 done earlier" in more.out
    again = run("method=random", "seed=1,2", "hydra.sweeper.again=true")
    assert again.ran == first.ran
    nothing = run("method=random", "seed=2,1", "logger=none")
    assert (nothing.code, nothing.ran) == (0, []) and "(2 done earlier)" in nothing.out


def test_what_has_no_verdict_any_more_is_run_again(run: Run) -> None:
    run("method=random", "seed=1,2")
    Path("outputs/artifacts/evaluate/random1").rmdir()
    assert run("method=random", "seed=1,2").ran == ["random 1"]


def test_a_job_that_failed_hides_no_other_and_is_run_again(run: Run) -> None:
    for _ in range(2):
        done = run("method=random", "seed=91,1,92")
        assert done.code == 1
        said = done.out.replace("\n", "")
        assert "Job #0 (seed=91) FAILED: seed=91 is too much. Its log: " in said and "(2 failed, 1 done" in said
        assert len(done.of[0]) == 1
        assert done.err.splitlines()[-1].startswith("error: jobs #")


def test_what_several_jobs_failed_by_is_said_once(run: Run) -> None:
    """As it happens and at the end."""
    done = run("method=random,pixel", "seed=91,92")
    said = done.out.replace("\n", "")
    for seed, others in ((91, "#2"), (92, "#3")):
        assert said.count(f"seed={seed} is too much.") == 1
        assert f"The same goes for job {others}." in said
    for number in (0, 1):
        line = next(line for line in done.err.splitlines() if f"Job #{number + 2} " in line)
        assert line.endswith(f"has failed: for the same reason as job #{number}")


def test_the_last_sentence_counts_what_was_cancelled(run: Run) -> None:
    said = run("method=random", f"seed={CANCELLING},1,2").err.splitlines()[-1]
    assert said == (
        "error: job #0 of the sweep has failed, as said above; 1 was cancelled, the other jobs are finished."
    )
    assert cli.explain_failures(["#0", "#2"], 4, 2).endswith("have failed, as said above; 2 were cancelled.")
    assert cli.explain_failures(["#0"], 1, 0) == "job #0 of the sweep has failed, as said above."


def test_the_last_sentence_is_of_all_batches(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: object, sweep: Sweep, cfg: DictConfig, numbers: Sequence[int], detached: bool) -> Sweep:
        for number in set(numbers) - {3}:
            say(sweep, number, "done" if number == 0 else "failed", error="why")
        if 3 in numbers:
            (sweep.folder / "3").mkdir()
            (sweep.folder / "3" / CANCEL).touch()
        return sweep

    monkeypatch.setattr(local.LocalSettings, "start", start)
    done = run("method=random", "seed=1,2,3,4", "hydra/launcher=local", "hydra.sweeper.max_batch_size=2")
    assert done.code == 1 and done.err.splitlines()[-1] == (
        "error: jobs #1 and #2 of the sweep have failed, as said above; 1 was cancelled, the other jobs are finished."
    )


def test_a_sweep_that_cannot_be_composed_starts_nothing(run: Run) -> None:
    done = run("method=random", "seed=1,2", "metod=pixel")
    assert (done.code, done.ran) == (1, []) and done.err.endswith("There is no setting metod: did you mean method?\n")
    assert "sweep=detach is neither attached nor detached." in run("seed=1,2", "sweep=detach").err
    batched = run("seed=1,2", "sweep=detached", "hydra.sweeper.max_batch_size=1")
    assert batched.code == 1 and "hydra.sweeper.max_batch_size" in batched.err


@pytest.mark.parametrize(
    ("launcher", "sentence"),
    [
        (
            ["slurm", "hydra.launcher.tasks=2"],
            "With hydra.launcher.tasks=2 the tasks of a job are its workers: leave workers at 1.",
        ),
        (["local"], "hydra/launcher=local gives every job the same place: give workers a single value."),
    ],
)
def test_what_an_experiment_needs_of_a_machine_is_checked_for_every_job(
    launcher: list[str], sentence: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written; jobs that differ in values alone are composed once."""
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    (tmp_path / "experiment").mkdir()
    for name, workers in (("first", 1), ("second", 2)):
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\nworkers: {workers}\n")
    searched = f"hydra.searchpath=[file://{tmp_path}]"
    done = run(searched, "experiment=first,second", "seed=1,2", f"hydra/launcher={launcher[0]}", *launcher[1:])
    assert done.code == 1 and done.err == f"error: {sentence}\n"
    assert done.folder is None


def test_a_sweep_that_is_done_needs_no_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    run("method=random", "seed=1,2")
    done = run("method=random", "seed=1,2", "hydra/launcher=slurm")
    assert (done.code, done.ran) == (0, []) and "(2 done earlier)" in done.out
    more = run("method=random", "seed=1,2,3", "hydra/launcher=slurm")
    assert more.code == 1 and "There is no SLURM on this machine" in more.err and more.folder == done.folder


DETACHED = """
import sys, time
from pathlib import Path
from tdattr import cli
from tdattr.sweeps import outcome
from tests.sweeps import test_sweeper
outcome.show_tables = lambda *_: None
def stage(cfg):
    while not Path("go").exists():
        time.sleep(0.02)
    test_sweeper.stage(cfg)
sys.argv[1:] = ["-m", "method=random", "seed=1,99", "sweep=detached"]
cli.compose_and_run(lambda: stage, cli.Jobs("config"))
"""


def test_a_sweep_in_one_process_gives_the_terminal_back(tmp_path: Path) -> None:
    """It goes on alone, and its last words are in a file of its folder."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TDATTR_OUTPUTS": "outputs"}
    command = [sys.executable, "-c", DETACHED]
    try:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert re.search(r"^Started 2 jobs in outputs/runs/\S+: tdattr-sweep status shows them.$", done.stderr, re.M)
        (folder,) = tmp_path.glob("outputs/runs/*")
        sweep = read_sweep(folder)
        assert {job.state for job in read_states(sweep).jobs} <= {"WAITING", "RUNNING"}
    finally:
        (tmp_path / "go").touch()
    said = wait_for(lambda: read_states(sweep).ended and "Sweep: " in (folder / ".sweep.log").read_text())
    assert said and [job.state for job in read_states(sweep).jobs] == ["DONE", "FAILED"]
    assert "seed=99 is too much." in (folder / ".sweep.log").read_text()
    wait_for(lambda: not is_running(read_status(folder)["pid"], read_status(folder)["process"]))
