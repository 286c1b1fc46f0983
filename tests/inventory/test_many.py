"""A thousand artifacts: everything is counted, and only what should go does."""

import json
import shutil
from pathlib import Path

import pytest

from tests.inventory.outputs import artifacts, make_older, names, write_run

RUNS = 125
OF_A_RUN = 8  # artifacts besides the dataset, which all share


@pytest.mark.slow
def test_a_thousand_artifacts_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # whether they survive a power cut is not asked here
    chains = [write_run(tmp_path, f"sweep/{number}", steps=1000 + number) for number in range(RUNS)]
    assert len(names(tmp_path)) == RUNS * OF_A_RUN + 1
    listed = {entry["artifact"]: entry for entry in json.loads(artifacts("list", "--json", outputs=tmp_path).out)}
    assert set(listed) == names(tmp_path)
    for number, chain in enumerate(chains):
        assert all(listed[name]["runs"] == [f"sweep/{number}"] for name in set(chain.everything) - {chain.dataset.name})
    assert len(listed[chains[0].dataset.name]["runs"]) == RUNS
    assert "1 001 artifacts" in artifacts("verify", outputs=tmp_path).out

    explained = artifacts("explain", chains[3].verdict.name, chains[90].verdict.name, outputs=tmp_path)
    assert "train.steps: 1003 against 1090" in explained.out
    shutil.rmtree(tmp_path / "runs/sweep/7")
    make_older(tmp_path, 2)
    dry = artifacts("prune", "--trainings", "--dry-run", "--days", "0", outputs=tmp_path)
    assert f"{OF_A_RUN} artifacts that no run uses" in dry.out
    assert f"{3 * (RUNS - 1)} artifacts that finished runs no longer need" in dry.out
    assert artifacts("prune", "--trainings", "--yes", "--days", "0", outputs=tmp_path).status == 0
    left = names(tmp_path)
    assert len(left) == 1 + (RUNS - 1) * (OF_A_RUN - 3)
    assert not left & (set(chains[7].everything) - {chains[7].dataset.name})
    assert artifacts("verify", outputs=tmp_path).status == 0
    again = write_run(tmp_path, "again", steps=1000)
    assert again.store.built == []
