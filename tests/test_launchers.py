"""The scripts of ``launchers/``: every command composes, and they go stage by stage where jobs run at once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.conftest import CONF
from tests.sweep_jobs import jobs

LAUNCHERS = Path(__file__).parents[1] / "launchers"
SCRIPTS = sorted(path for path in LAUNCHERS.glob("*.sh") if path.name != "common.sh")
UNSCALED = ("glyphs_mucs.sh", "bank.sh")
SCALED = [(path, scale) for path in SCRIPTS for scale in ([None] if path.name in UNSCALED else ["paper", "toy"])]
RECORDER = r"""#!/bin/sh
{ printf %s "${0##*/}"; for argument in "$@"; do printf '\t%s' "$argument"; done; echo; } >> "$RECORD"
case " $* " in *" until=attribute "*) exit "${STATUS:-0}" ;; esac
"""
both_scales = pytest.mark.parametrize(("script", "scale"), SCALED, ids=lambda value: getattr(value, "stem", value))


@pytest.fixture
def commands(tmp_path: Path):
    """``commands(script, scale, …)`` runs a script with programs in the place of tdattr's that write down what they are
    asked for; gives the script's status, and that, without the base model that a script trains first."""
    for name in ("tdattr", "tdattr-base", "tdattr-report"):
        (tmp_path / name).write_text(RECORDER)
        (tmp_path / name).chmod(0o755)

    def run(script: Path, scale: str | None, *arguments: str, **environment: str) -> tuple[int, list[list[str]]]:
        record = tmp_path / "record"
        record.unlink(missing_ok=True)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        given = [scale] if scale else []
        command = [str(script), *given, *arguments]
        done = subprocess.run(command, env=os.environ | {"PATH": path, "RECORD": str(record)} | environment)
        lines = record.read_text().splitlines() if record.exists() else []
        said = [line.split("\t") for line in lines]
        return done.returncode, said[1:] if said[:1] == [["tdattr-base"]] else said

    return run


def unswept(command: list[str]) -> list[str]:
    """The overrides that all jobs of a sweep have."""
    parser = OverridesParser.create()
    return [override for override in command if not parser.parse_override(override).is_sweep_override()]


@pytest.mark.slow
@both_scales
def test_every_command_composes(commands, script: Path, scale: str | None) -> None:
    status, said = commands(script, scale, LAUNCHER="local")
    assert status == 0 and said[-1] == ["tdattr-report"]
    seen = set()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for program, multirun, launcher, *overrides in said[:-1]:
            assert (program, multirun, launcher) == ("tdattr", "-m", "hydra/launcher=local")
            compose("config", unswept(overrides))  # as Hydra does before it sweeps
            for job in jobs([override for override in overrides if not override.startswith("until=")]):
                if tuple(job) in seen:
                    continue
                seen.add(tuple(job))
                compose("config", job)
    assert len(seen) > 2


@both_scales
def test_stages_follow_each_other_where_jobs_run_at_once(commands, script: Path, scale: str | None) -> None:
    _, basic = commands(script, scale, "a=1")
    assert all(command[2] == "hydra/launcher=basic" and command[-1] == "a=1" for command in basic[:-1])
    assert not any(argument.startswith("until=") for command in basic for argument in command)
    _, slurm = commands(script, scale, "a=1", LAUNCHER="slurm")
    judged = [[argument.replace("=basic", "=slurm") for argument in command] for command in basic[:-1]]
    attributed = [[*command[:-1], "until=attribute", "a=1"] for command in judged]
    models, rest = slurm[0], slurm[1:-1]
    assert rest == [*attributed, *judged]
    assert models[-3:] == ["method=random", "until=generate", "a=1"]
    assert set(models) - set(judged[0]) == {"method=random", "until=generate"}


def test_a_script_goes_on_after_failed_jobs_and_ends_with_a_signal(commands) -> None:
    script = LAUNCHERS / "mucs_table_2.sh"
    status, said = commands(script, "toy", LAUNCHER="local", STATUS="1")
    assert status == 1 and said[-1] == ["tdattr-report"]
    status, said = commands(script, "toy", LAUNCHER="local", STATUS="130")
    assert status == 130 and "until=attribute" in said[-1]
    assert commands(script, "toy", LAUNCHER="cluster") == (2, [])
    assert commands(script, "tiny") == (2, [])


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    checked = subprocess.run(["shellcheck", "-x", *map(str, LAUNCHERS.glob("*.sh"))], cwd=LAUNCHERS.parent)
    assert checked.returncode == 0
