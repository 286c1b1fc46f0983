"""``tdattr-artifacts verify``: what is damaged or missing, and what builds it again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inventory.outputs import Chain, age_artifact, artifacts, write_run


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return write_run(tmp_path, "sweep/0")


def flip(folder: Path) -> None:
    path = folder / "ema.safetensors"
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit": (flip, "ema.safetensors is not what was written"),
    "cut": (lambda folder: (folder / "ema.safetensors").write_bytes(b""), "has 0 bytes instead of 10240"),
    "file": (lambda folder: (folder / "ema.safetensors").unlink(), "ema.safetensors is missing"),
    "provenance": (lambda folder: (folder / "provenance.json").unlink(), "provenance.json is missing"),
    "kind": (
        lambda folder: (folder / "provenance.json").write_text('{"config": 3}'),
        "the config in its provenance cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_with_the_command_that_builds_it_again(
    damage: str, chain: Chain, tmp_path: Path
) -> None:
    assert artifacts("verify", outputs=tmp_path).status == 0
    DAMAGES[damage][0](chain.again.artifact.folder)
    done = artifacts("verify", outputs=tmp_path)
    assert done.status == 1 and f"{chain.again.name} is damaged: " in done.out and DAMAGES[damage][1] in done.out
    assert f"rm -r {chain.again.artifact.folder}" in done.out
    assert "tdattr seed=1 train.steps=3000 'paths.data=a folder'" in done.out
    assert "9 artifacts" in done.out and "1 damaged, none missing" in done.out


def test_an_artifact_under_a_name_that_is_not_its_own_is_damaged(chain: Chain, tmp_path: Path) -> None:
    folder = chain.model.artifact.folder
    shutil.copytree(folder, folder.with_name("0" * 16))
    done = artifacts("verify", outputs=tmp_path)
    assert done.status == 1 and f"pretrain/{'0' * 16} is damaged: its name is not that of what it holds" in done.out


def test_what_a_run_shows_is_missing_where_it_is_gone_but_not_a_training(chain: Chain, tmp_path: Path) -> None:
    shutil.rmtree(chain.model.artifact.folder)
    shutil.rmtree(chain.unlearned.artifact.folder)
    assert artifacts("verify", outputs=tmp_path).status == 0
    shutil.rmtree(chain.scores.artifact.folder)
    done = artifacts("verify", outputs=tmp_path)
    assert done.status == 1 and f"{chain.scores.name} is missing: sweep/0 shows it." in done.out
    assert "tdattr seed=1 train.steps=3000" in done.out and "1 missing" in done.out


def test_artifacts_of_an_older_version_are_counted(chain: Chain, tmp_path: Path) -> None:
    age_artifact(chain.model, 1)
    flip(chain.model.artifact.folder)
    done = artifacts("verify", outputs=tmp_path)
    assert done.status == 0 and "1 artifact without checksums, of an older version" in done.out


def test_a_stage_can_be_checked_alone_and_a_broken_summary_is_said(chain: Chain, tmp_path: Path) -> None:
    flip(chain.model.artifact.folder)
    assert artifacts("verify", "--stage", "generate", outputs=tmp_path).status == 0
    assert artifacts("verify", "--stage", "pretrain", outputs=tmp_path).status == 1
    (tmp_path / "runs/sweep/0/summary.json").write_text(json.dumps({"artifacts": []}))
    assert "sweep/0: its summary.json cannot be read" in artifacts("verify", outputs=tmp_path).out
