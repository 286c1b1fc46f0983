"""One damaged run costs its own row, whatever of it is damaged: the report shows all others and names that one."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tdattr.errors import UserError
from tdattr.report import catalogue, command
from tdattr.report.arguments import parse
from tdattr.report.readable import make_readable
from tests.report.outputs import Outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Two runs, of which the second, of MUCS, is to be damaged."""
    outputs = Outputs(tmp_path)
    outputs.run("pixel", 1, 0.1)
    outputs.run("mucs", 1, 0.3)
    return outputs


def check_others_are_shown(outputs: Outputs) -> str:
    """That the other run is shown; the reason for which the damaged one is not."""
    collected, ((experiment, rows, sheets),) = make_readable([outputs.root])
    assert list(experiment.runs) == ["pixel"] and [row["method"] for row in rows] == ["pixel"] and sheets
    ((folder, reason),) = collected.left_out.items()
    assert folder.name == "run 2"
    return reason


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_cut_summary(outputs: Outputs, share: float) -> None:
    path = outputs.root / "runs" / "run 2" / "summary.json"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    check_others_are_shown(outputs)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda summary: {name: value for name, value in summary.items() if name != key}


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": without(key) for key in ("dataset", "seed", "k", "removed", "overlap_percent", "artifacts")},
    **{
        f"{key} of another kind": lambda summary, key=key: summary | {key: {"x": []}}
        for key in (
            "dataset",
            "seed",
            "num_queries",
            "seconds_per_query",
            "device",
            "title",
            "k",
            "removed",
            "artifacts",
        )
    },
    "no measures": lambda summary: summary | {"metrics": None},
    "other measures": lambda summary: summary | {"metrics": {"lpips": {}}},
    "facts as text": lambda summary: summary | {"facts": {"capped": "many"}},
    "a list": lambda summary: [summary],
    "a number": lambda summary: 3,
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_summary_with_something_missing(outputs: Outputs, edit: str) -> None:
    path = outputs.root / "runs" / "run 2" / "summary.json"
    path.write_text(json.dumps(EDITS[edit](json.loads(path.read_text()))))
    assert check_others_are_shown(outputs)


@pytest.mark.parametrize("content", ["", "seed: 1", "[1, 2]", "a: [", "method: {}"])
def test_a_damaged_config(outputs: Outputs, content: str) -> None:
    (outputs.root / "runs" / "run 2" / "config.yaml").write_text(content)
    check_others_are_shown(outputs)


@pytest.mark.parametrize("node", ["dataset", "model", "diffusion", "protocol", "method", "trainer"])
@pytest.mark.parametrize("value", [None, "text", {}, {"name": []}], ids=str)
def test_a_config_with_something_missing(outputs: Outputs, node: str, value: Any) -> None:
    path = outputs.root / "runs" / "run 2" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {node: value}))
    assert check_others_are_shown(outputs)


@pytest.mark.parametrize("content", ["", "query,role\n0,attributed\n", 'query,"role\n', "\0\0"])
def test_a_damaged_table(outputs: Outputs, content: str) -> None:
    (outputs.root / "artifacts" / "evaluation" / "2" / "queries.csv").write_text(content)
    check_others_are_shown(outputs)


def test_a_damaged_verdict_is_named_with_what_builds_it_again(outputs: Outputs) -> None:
    (outputs.root / "artifacts" / "evaluation" / "2" / "provenance.json").write_text("{")
    reason = check_others_are_shown(outputs)
    assert "The artifact evaluation/2 is damaged" in reason and "rm -r" in reason


def test_tables_do_not_need_pictures(
    outputs: Outputs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (outputs.root / "artifacts" / "queries" / "2").mkdir(parents=True)  # without a provenance
    for run in (outputs.root / "runs").iterdir():
        summary = json.loads((run / "summary.json").read_text())
        queries = {"pixel": "evaluation/1", "mucs": "queries/2"}[summary["method"]]
        summary["artifacts"] |= {"queries": queries, "dataset": "evaluation/1"}
        (run / "summary.json").write_text(json.dumps(summary | {"num_queries": 0}))
        with (run / "config.yaml").open("a") as file:
            file.write("queries: {attributed: 6}\n")
    pictured: list[str] = []
    seen = lambda run, scores, gallery: pictured.append(run.summary["method"]) or []  # noqa: E731
    monkeypatch.setattr(catalogue, "show_attributions", seen)
    for name in ("load_images", "to_uint8", "read_split"):  # pretended runs have no pictures
        monkeypatch.setattr(catalogue, name, lambda *_: SimpleNamespace(conditions=None, items=[]))
    command.run(parse([str(outputs.root / "runs"), "--out", str(outputs.root / "report")]))
    text = (outputs.root / "report" / "index.html").read_text()
    for shown in (capsys.readouterr().out, text):
        assert "No pictures (The artifact queries/2 is damaged" in shown and "mucs" in shown
    assert pictured == ["pixel"]


def test_where_no_run_can_be_shown_the_reason_is(outputs: Outputs) -> None:
    for summary in (outputs.root / "runs").rglob("summary.json"):
        summary.write_text(summary.read_text()[:-30])
    with pytest.raises(UserError, match=r"No run below .* can be shown \(.*run 1"):
        make_readable([outputs.root])
