"""What a launcher starts: jobs that run what was submitted, wherever their values come from, and end as is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.conf import ConfigSourceInfo

from tdattr.configs import typed
from tdattr.errors import UserError
from tdattr.sweeps import slurm
from tdattr.sweeps.launch import Devices, Needs, read_environment
from tdattr.sweeps.record import read_sweep
from tdattr.sweeps.slurm import SlurmSettings
from tdattr.sweeps.snapshot import copy_code
from tests.conftest import CONF
from tests.e2e.console import tdattr
from tests.sweeps.sweep import make_sweep

ROOT = Path(__file__).parents[2]
MAIN = "import sys; sys.argv[0] = 'tdattr'; from tdattr.cli import main; main()"
LAUNCHER = ["--cfg", "hydra", "--package", "hydra.launcher"]


def start(folder: Path, code: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A sweep as a process of its own, run by the code in a folder."""
    environment = os.environ | {"PYTHONPATH": str(code)}
    environment.pop("TDATTR_OUTPUTS", None)
    command = [sys.executable, "-c", MAIN, "-m", "hydra/launcher=local", "trainer.accelerator=cpu", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_job(folder: Path, number: int, process: "subprocess.Popen[str]") -> Path:
    """Wait until a job of the only sweep has started, for as long as the sweep runs; the sweep's folder."""
    while True:
        ended = process.poll() is not None  # before the look at what it has left
        if found := list(folder.glob(f"outputs/runs/*/{number}/status.json")):
            return found[0].parents[1]
        assert not ended, process.communicate()
        time.sleep(0.05)


def read_status(folder: Path, number: str) -> dict:
    """What a job of a sweep says of itself."""
    return json.loads((folder / number / "status.json").read_text())


@pytest.mark.slow
def test_jobs_run_what_was_submitted(tmp_path: Path) -> None:
    """The checkout breaks while they wait."""
    checkout = tmp_path / "checkout"
    for name in ("tdattr", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, checkout / name)
    process = start(tmp_path, checkout, "hydra.launcher.jobs=1", "seed=1,2", "paths.data=null")
    folder = wait_for_job(tmp_path, 0, process)
    (checkout / "tdattr" / "overrides.py").write_text("raise RuntimeError('the new code')")
    (checkout / "conf" / "config.yaml").write_text("new: true")
    (checkout / "hydra_plugins" / "tdattr_sweeper.py").write_text("not Python")
    _, said = process.communicate()
    assert process.returncode == 1 and "the new code" not in said
    assert [read_status(folder, number)["error"] for number in "01"] == ["paths.data=null must be a folder."] * 2
    sweep = read_sweep(folder)
    assert sweep.code == str(folder / ".code")
    assert "seed=2" in sweep.jobs[1].overrides and sweep.command[:3] == ["tdattr", "-m", "hydra/launcher=local"]


@pytest.mark.slow
def test_jobs_find_files_from_where_the_command_was_given(tmp_path: Path) -> None:
    """That one was read whose path is relative, what is wrong with it says."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "prompts.txt").write_text("a bold 4\n\na thin 9\n")
    process = start(
        tmp_path, ROOT, "seed=1", "queries.prompts=mine/prompts.txt", "queries.attributed=1", "queries.controls=0"
    )
    _, said = process.communicate()
    (folder,) = tmp_path.glob("outputs/runs/*")
    assert process.returncode == 1, said
    assert "mine/prompts.txt, line 2, is empty" in read_status(folder, "0")["error"]


@pytest.mark.slow
def test_an_interruption_ends_local_jobs_and_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, ROOT, "hydra.launcher.jobs=1", "seed=1,2")
    folder = wait_for_job(tmp_path, 0, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "Interrupted, and the jobs of the sweep that ran with it: the same command resumes them."
    )
    status = read_status(folder, "0")
    assert status["state"] in ("interrupted", "failed")  # failed: before it could listen to signals
    with pytest.raises(ProcessLookupError):
        os.kill(status["pid"], 0)
    assert not (folder / "1").exists()


def test_modules_of_one_s_own_are_copied_with_the_configs_that_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ROOT / "tests" / "plugins" / "method"
    monkeypatch.syspath_prepend(str(own))
    sources = [
        ConfigSourceInfo("hydra.conf", "pkg", "hydra"),
        ConfigSourceInfo("/nowhere", "file", "main"),
        ConfigSourceInfo(f"{own}/conf", "file", "command-line"),
        ConfigSourceInfo("elsewhere", "pkg", "hydra.searchpath in command-line"),
        ConfigSourceInfo("", "structured", "schema"),
    ]
    code, searched, _ = copy_code(tmp_path, sources)
    assert searched == [f"file://{code}/configs/0", "pkg://elsewhere"]
    assert (code / "configs/0/method/brightness.yaml").read_text() == (own / "conf/method/brightness.yaml").read_text()
    assert (code / "brightness.py").read_text() == (own / "brightness.py").read_text()
    assert (code / "tdattr/cli.py").exists() and (code / "conf/config.yaml").exists()
    assert (code / "hydra_plugins/tdattr_launchers.py").exists()
    assert not list(code.rglob("__pycache__"))


@pytest.mark.slow
def test_a_sweep_that_cannot_start_says_so(tmp_path: Path) -> None:
    given = ["-m", "seed=1,2", "sweep=detached", "hydra.sweep.subdir=${nope}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TDATTR_OUTPUTS": "outputs"}
    command = [sys.executable, "-c", MAIN, *given]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Started" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: The sweep ended before it had started: ") and ".sweep.log says why." in said


def test_launchers_of_others_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = tdattr("-m", "seed=1,2", "hydra/launcher=submitit_local", folder=tmp_path, check=False)
    assert done.returncode == 1 and "choose hydra/launcher=local or slurm." in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/runs/*"))


def test_a_folder_of_configs_may_hold_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    for name in ("method/mine.yaml", "method/data.npy"):
        (tmp_path / name).touch()
    sweep = tmp_path / "outputs" / "runs" / "1"
    (sweep.parent / "0").mkdir(parents=True)
    (sweep.parent / "0" / "multirun.yaml").touch()
    code, _, _ = copy_code(sweep, [ConfigSourceInfo(str(tmp_path), "file", "command-line")])
    copied = [path for path in (code / "configs" / "0").rglob("*") if path.is_file()]
    assert copied == [code / "configs" / "0" / "method" / "mine.yaml"]


def test_a_slip_in_values_of_one_s_own_is_said(tmp_path: Path) -> None:
    (tmp_path / "conf" / "local").mkdir(parents=True)
    (tmp_path / "conf" / "local" / "slurm.yaml").write_text("cpus: [3")
    done = tdattr("--cfg", "job", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: conf/local/slurm.yaml cannot be read: ") and done.stderr.count("\n") == 1


def test_values_of_one_s_own_lie_beside_and_give_way_to_the_command_line(tmp_path: Path) -> None:
    for launcher, name in (("slurm", "cpus"), ("local", "jobs")):
        assert f"{name}: 3\n" not in tdattr(*LAUNCHER, f"hydra/launcher={launcher}", folder=tmp_path).stdout
        (tmp_path / "conf/local").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"conf/local/{launcher}.yaml").write_text(f"{name}: 3\n")
        assert f"{name}: 3\n" in tdattr(*LAUNCHER, f"hydra/launcher={launcher}", folder=tmp_path).stdout
        given = f"hydra.launcher.{name}=4"
        assert f"{name}: 4\n" in tdattr(*LAUNCHER, f"hydra/launcher={launcher}", given, folder=tmp_path).stdout
    assert "/conf/local/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("hydra.launcher.jobs=0", "hydra.launcher.jobs=0 must be at least 1, or null."),
        ("workers=0", "workers=0 must be at least 1."),
        ("workers=1,2", "hydra/launcher=local gives every job the same place: give workers a single value."),
        ("hydra.launcher.job=1", "There is no setting hydra.launcher.job: did you mean hydra.launcher.jobs?"),
    ],
)
def test_a_mistake_in_a_launcher_s_settings_is_said(mistake: str, sentence: str, tmp_path: Path) -> None:
    done = tdattr("-m", "hydra/launcher=local", mistake, "seed=1,2", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {sentence}"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("jobs=2", "hydra.launcher.jobs is a setting of hydra/launcher=local: choose it, too."),
        ("cpus=2", "hydra.launcher.cpus is a setting of hydra/launcher=slurm: choose it, too."),
        (
            "pack=2",
            "hydra.launcher.pack is a setting of hydra/launcher=local and of hydra/launcher=slurm: choose one of them, "
            "too.",
        ),
    ],
)
def test_a_setting_of_a_launcher_that_was_not_chosen_says_which(setting: str, sentence: str, tmp_path: Path) -> None:
    done = tdattr("-m", f"hydra.launcher.{setting}", "seed=1,2", folder=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (1, f"error: {sentence}\n")


def test_jobs_find_their_modules_and_stores_wherever_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["mods", "/elsewhere"]))
    monkeypatch.setenv("TDATTR_DATA", "data")
    monkeypatch.delenv("TDATTR_OUTPUTS", raising=False)
    found = read_environment()
    assert found["PYTHONPATH"] == f"{tmp_path}/mods{os.pathsep}/elsewhere"
    assert (found["TDATTR_OUTPUTS"], found["TDATTR_DATA"]) == ("", "data")


def test_other_commands_take_no_launcher(tmp_path: Path) -> None:
    given = ["-m", "hydra/launcher=local", "dataset=digits,glyphs"]
    done = tdattr(*given, folder=tmp_path, command="prepare", check=False)
    assert done.stderr.splitlines()[-1] == "error: hydra/launcher=local runs the jobs of tdattr alone: leave it out."


def make_settings(**values: Any) -> SlurmSettings:
    """Those of ``conf/hydra/launcher/slurm.yaml`` and others."""
    usual = yaml.safe_load((CONF / "hydra/launcher/slurm.yaml").read_text())
    return typed(SlurmSettings, {key: usual[key] for key in usual if key not in ("defaults", "_target_")} | values, "")


@pytest.mark.parametrize(
    ("values", "workers", "sentence"),
    [
        ({"pack": 4}, [1], "hydra.launcher.tasks=2 divides a job, and hydra.launcher.pack=4 puts several together"),
        ({}, [2], "With hydra.launcher.tasks=2 the tasks of a job are its workers: leave workers at 1."),
        ({}, [1, 3], "With hydra.launcher.tasks=2 the tasks of a job are its workers"),
    ],
)
def test_tasks_are_the_only_workers_of_their_job(
    values: dict, workers: list[int], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr(slurm, "find_spec", lambda name: name)
    needs = [Needs(count, Devices(1, "cpu")) for count in workers]
    make_settings(**values).check(needs)  # one task
    make_settings(tasks=2).check([Needs(1, Devices(count, "cpu")) for count in (1, 2)])
    with pytest.raises(UserError, match=sentence):
        make_settings(tasks=2, **values).check(needs)


def test_every_task_has_what_is_asked_for_and_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda *_: 1)  # as if there were SLURM
    sweep = replace(make_sweep(tmp_path, launcher="slurm"), code=str(tmp_path))

    def script(**values: Any) -> list[str]:
        return make_settings(memory=10, **values).executor(sweep)._make_submission_file_text("python", "").splitlines()

    one, several = script(), script(tasks=4, cpus=3, gpus=2)
    asked = ["--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=4", "--gpus-per-node=1", "--mem=10240MB"]
    assert {f"#SBATCH {option}" for option in asked} <= {*one}
    asked = ["--nodes=1-4", "--ntasks=4", "--cpus-per-task=3", "--gpus-per-task=2", "--mem-per-cpu=3414MB"]
    assert {f"#SBATCH {option}" for option in asked} <= {*several}
    assert not any("per-node" in line or "--mem=" in line for line in several)
    step = next(line for line in several if line.startswith("srun"))
    assert "--kill-on-bad-exit=0 --wait=0 --cpus-per-task=3" in step


def test_what_slurm_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="There is no SLURM on this machine"):
        settings.check([])
    monkeypatch.setattr(slurm, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="hydra/launcher=slurm needs submitit: pip install hydra-submitit-launcher"):
        settings.check([])
