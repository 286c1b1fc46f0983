"""What the page says beside the pictures, of runs that are only pretended."""

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tdattr.report import catalogue, page
from tdattr.report.album import Album
from tdattr.report.catalogue import Catalogue
from tdattr.report.collect import Experiment, collect
from tdattr.report.provenance import trace
from tests.report.outputs import ITEMS, QUERIES, Outputs

GROUPS = ["bold", "thin", "wide"]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outputs:
    """Whose queries have prompts, and whose items are in three groups."""
    items = pd.DataFrame({"id": range(ITEMS), "style": [GROUPS[index % 3] for index in range(ITEMS)]})
    split = SimpleNamespace(items=items, conditions=1, images=lambda ids: torch.zeros(len(ids), 1, 2, 2))
    monkeypatch.setattr(catalogue, "load_images", lambda artifact: torch.zeros(QUERIES, 1, 2, 2))
    monkeypatch.setattr(catalogue, "read_frame", lambda path: pd.DataFrame({"prompt": ["a bold 4"] * QUERIES}))
    monkeypatch.setattr(catalogue, "read_split", lambda folder, split_name: split)
    return Outputs(tmp_path)


def run(outputs: Outputs, method: str, of_groups: bool, text: Any) -> Experiment:
    """A run of a method that scores groups, or items, beside those that are there."""
    gold = np.random.default_rng(0).random((QUERIES, 3))
    dataset = {"name": "tiny", "groups": "style", "text": text}
    outputs.groups(method, 1, gold, gold, names=GROUPS, dataset=dataset, queries={"attributed": QUERIES})
    place = outputs.root / "runs" / f"run {outputs.count}" / "summary.json"
    summary = json.loads(place.read_text())
    evaluation = summary["artifacts"]["evaluation"]
    place.write_text(
        json.dumps(summary | {"artifacts": summary["artifacts"] | {"queries": evaluation, "dataset": evaluation}})
    )
    if of_groups:
        scores = outputs.root / "artifacts" / summary["artifacts"]["scores"]
        save_file({"scores": torch.rand(QUERIES, 3)}, scores / "scores.safetensors")
        (scores / "groups.json").write_text(json.dumps(GROUPS))
    return collect([outputs.root]).experiments[-1]


@pytest.mark.parametrize("text", [None, {"name": "tokens"}])
def test_what_is_named_and_what_a_query_was_told(outputs: Outputs, text: Any) -> None:
    found = Catalogue(run(outputs, "guda_c", True, text), Album(), ["guda_c"])
    shown = found.as_dict()
    assert not found.missing and [method["kind"] for method in shown["methods"]] == ["groups"]
    assert shown["queries"][0]["caption"] == ("condition" if text is None else "prompt") + ": a bold 4"
    names = [shown["targets"][entry[0]]["group"] for entry in shown["queries"][0]["named"][0]["top"]]
    assert sorted(names) == GROUPS
    experiment = run(outputs, "pixel", False, text)
    shown = Catalogue(experiment, Album(), ["guda_c", "pixel"]).as_dict()
    assert [method["kind"] for method in shown["methods"]] == ["groups", "items"]
    grouped = [entry["named"][1]["groups"] for entry in shown["queries"]]  # as the protocol sees scores of items
    assert all(sorted(shown["targets"][each[0]]["group"] for each in groups) == GROUPS for groups in grouped)
    text_of_page = page.render([(experiment, [], [])], [], [])
    assert "None" not in text_of_page


@pytest.mark.parametrize("text", ["</script>", "<!-- <script>", "\u2028\u2029", "]]>", "&lt;", "日本語", r"\u003c"])
def test_no_name_ends_the_data_or_is_changed_by_it(text: str) -> None:
    embedded = page.embed({text: [text]})
    assert embedded.isascii() and not set("<>&") & set(embedded)
    assert json.loads(embedded) == {text: [text]}


def test_a_page_allows_no_script_but_its_own(outputs: Outputs) -> None:
    text = page.render([(run(outputs, "pixel", False, None), [], [])], [], [])
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes and len(hashes) == 2
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.partition("script-src")[2]


def test_what_was_run_is_traced_and_a_damaged_artifact_is_named(outputs: Outputs) -> None:
    experiment = run(outputs, "pixel", False, None)
    found = experiment.first("pixel")
    (found.folder / ".hydra").mkdir()
    (found.folder / ".hydra" / "overrides.yaml").write_text("- method=pixel\n- dataset.name='a b'\n")
    scores = found.artifact("scores").folder
    provenance = {"finished": "today", "packages": {"torch": "2.9"}, "revision": "abc"}
    (scores / "provenance.json").write_text(json.dumps(provenance))
    (found.artifact("evaluation").folder / "provenance.json").write_text("{")
    origins = trace(experiment)
    [origin] = origins.runs
    assert origin.command == """tdattr method=pixel 'dataset.name='"'"'a b'"'"''"""
    assert origin.replay == f"tdattr --config '{found.folder}/config.yaml'"  # "run 1" has a space
    by_role = {role: rest for role, *rest in origin.artifacts}
    assert by_role["scores"][1:] == ["today", ""]  # no digests in older versions
    assert "is damaged" in by_role["evaluation"][1]
    assert (origins.packages, origins.revisions) == ({"torch": "2.9"}, "abc")
