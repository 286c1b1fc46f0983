"""A path that begins with ``~`` is below the user's home, whoever reads it: no folder is ever named ``~``."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.e2e.console import TINY, tdattr

DIGITS = "dataset=digits"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The user's home."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(home: Path, *arguments: str, command: str = "main", **environment: str) -> None:
    """Run a command elsewhere; it leaves nothing there."""
    folder = home.parent / "work"
    folder.mkdir(exist_ok=True)
    tdattr(*arguments, folder=folder, command=command, HOME=str(home), **environment)
    assert not list(folder.iterdir())


def test_outputs_and_manifests(home: Path) -> None:
    run(home, DIGITS, command="prepare", TDATTR_OUTPUTS="~/a")
    assert len(list(home.glob("a/artifacts/dataset/*/facts.json"))) == len(list(home.glob("a/runs/*"))) == 1
    run(home, DIGITS, 'paths.outputs="~/b"', command="prepare")
    assert list(home.glob("b/artifacts/dataset/*/facts.json")) and list(home.glob("b/runs/*/.hydra"))
    groups = ["dataset.groups=label", "noise.moved=10", "noise.block=10", 'manifest="~/noisy.csv"', DIGITS]
    run(home, *groups, command="groups", TDATTR_OUTPUTS="~/a")
    noisy = [DIGITS, 'dataset.groups="~/noisy.csv"', "noise.moved=10", "noise.block=10", 'manifest="~/again.csv"']
    run(home, *noisy, command="groups", TDATTR_OUTPUTS="~/a")
    assert (home / "noisy.csv").is_file() and (home / "again.csv").is_file()


def test_a_run_with_a_checkpoint_and_its_report(home: Path) -> None:
    run(home, *TINY, "method=pixel", "protocol.k=3", TDATTR_OUTPUTS="~/a")
    weights = next(home.glob("a/artifacts/pretrain/*/ema.safetensors"))
    save_file(load_file(weights), home / "weights.safetensors")
    run(home, *TINY, "method=pixel", 'checkpoint="~/weights.safetensors"', "protocol.k=3", TDATTR_OUTPUTS="~/a")
    assert list(home.glob("a/artifacts/checkpoint/*/ema.safetensors"))
    configs = list(home.glob("a/runs/*/config.yaml"))
    assert len(configs) == 2
    for path in configs:
        assert yaml.safe_load(path.read_text())["paths"]["artifacts"] == str(home / "a" / "artifacts")
    run(home, command="report", TDATTR_OUTPUTS="~/a")
    run(home, "~/a/runs", "--out", "~/b", command="report")
    assert (home / "a" / "report" / "index.html").is_file() and (home / "b" / "index.html").is_file()
