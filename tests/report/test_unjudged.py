"""Runs that ended before a verdict and left accuracies."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tdattr.errors import UserError
from tdattr.report import command
from tdattr.report.arguments import parse
from tdattr.report.readable import make_readable
from tdattr.report.unjudged import find_unjudged
from tests.report.outputs import Outputs


def leave(root: Path, seed: int, style: float, method: str = "random", **config: Any) -> Path:
    """The folder of such a run, newer than those before."""
    folder = root / "runs" / f"unjudged {len(list(root.glob('runs/unjudged*')))}"
    folder.mkdir(parents=True)
    measured = {"ua": 1 - style, "ira": style}
    found = {"images": 4, "f1": {"style": style}, "groups": [{"group": "serif", "f1": measured}]}
    accuracy = found | {"classifiers": {"style": 0.9}, "guesses": {"style": 0.5}, "warnings": []}
    (folder / "accuracy.json").write_text(json.dumps(accuracy))
    names = {node: {"name": node} for node in ("dataset", "model", "diffusion", "protocol")}
    full = names | {"seed": seed, "method": {"name": method}, "trainer": {"precision": "32-true"}, "until": "generate"}
    (folder / "config.yaml").write_text(yaml.safe_dump(full | config))
    newest = 10 + len(list(root.glob("runs/unjudged*")))
    os.utime(folder / "accuracy.json", (newest, newest))
    return folder


def test_the_newest_of_every_seed_counts_and_settings_stand_apart(tmp_path: Path) -> None:
    leave(tmp_path, 1, 0.1)
    leave(tmp_path, 1, 0.5)
    leave(tmp_path, 2, 0.7)
    leave(tmp_path, 1, 0.9, train={"lora": {"rank": 8}})
    leave(tmp_path, 1, 0.8, train={"lora": {"rank": None}})
    unjudged, left_out = find_unjudged([tmp_path, tmp_path / "runs"])
    assert not left_out and [each.title.partition(": ")[2] for each in unjudged] == [
        "accuracies, no verdict, 2 seeds",
        "accuracies, no verdict, 1 seed, train.lora.rank=8",
        "accuracies, no verdict, 1 seed, train.lora.rank=null",
    ]
    rows = [each.sheets[0].rows[0] for each in unjudged]
    assert [str(row["style"]) for row in rows] == ["60.0‖", "90.0", "80.0"]  # a guess gets 50 %
    assert [str(rows[0][column]) for column in ("UA", "IRA")] == ["40.0‖", "60.0‖"]
    assert len({each.slug for each in unjudged}) == 3


def test_they_are_in_the_report_with_and_without_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = leave(tmp_path, 1, 0.5)
    for judged in (False, True):
        if judged:
            Outputs(tmp_path).lds("mucs", 1)
        command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]))
        printed, page = capsys.readouterr().out, (tmp_path / "report/index.html").read_text()
        for text in (printed, page):
            assert "dataset, model, diffusion: accuracies, no verdict, 1 seed" in text
            assert ("lds, 32 subsets" in text) == judged and "not finished" not in text
        assert len(list((tmp_path / "report/tables").glob("*-accuracies/accuracies.csv"))) == 1
    (folder / "accuracy.json").write_text("{}")
    command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Not shown (it has no groups)" in printed and f"{folder}." in printed


def test_one_that_has_a_verdict_too_is_no_such_run(tmp_path: Path) -> None:
    leave(tmp_path, 1, 0.5)
    (tmp_path / "runs" / "unjudged 0" / "summary.json").write_text("{}")
    assert find_unjudged([tmp_path]) == ([], {})
    with pytest.raises(UserError, match="No run below"):
        make_readable([tmp_path])
