"""Folders of outputs as runs leave them, with artifacts of the real store, and the command run on them."""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tdattr.inventory.command import main
from tdattr.store import Artifact, Plan, Store

DAY = 86400.0
STEPS, QUERIES = 3000, 2
CONTENT = "c0ffee" * 10 + "0123"  # a digest of 64 letters


def artifacts(*arguments: str, outputs: Path) -> SimpleNamespace:
    """Run ``tdattr-artifacts``: its ``status``, ``out`` and ``err``."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["tdattr-artifacts", *arguments])
        patch.setenv("TDATTR_OUTPUTS", str(outputs))
        with pytest.raises(SystemExit) as end:
            main()
    return SimpleNamespace(status=end.value.code, out=out.getvalue(), err=err.getvalue())


class Chain:
    """The plans of one command, in the shape of the real ones: a verdict on scores, for which a network was trained
    again without some items. Nothing in the verdict's inputs leads to that training."""

    def __init__(self, outputs: Path, steps: int = STEPS, seed: int = 1) -> None:
        self.store = Store(outputs / "artifacts", "cpu")
        training = {"train": {"class": "TrainConfig", "steps": steps}, "seed": seed}
        self.dataset = self.plan(
            "dataset", {"class": "tdattr.data.glyphs.Glyphs"}, {"pillow": "13.0"}, self.write_facts
        )
        self.model = self.plan("pretrain", training | {"ids": "a" * 16}, {"dataset": CONTENT}, self.write_weights)
        self.again = self.plan("pretrain", training | {"ids": "b" * 16}, {"dataset": CONTENT}, self.write_weights)
        self.queries = self.plan("generate", {"seed": seed}, {"model": self.model.address}, self.write_images)
        inputs = {"model": self.model.address, "queries": self.queries.address}
        method = {"method": {"class": "tdattr.methods.mucs.MUCS"}, "seed": seed}
        self.unlearned = self.plan("unlearn", {"steps": 5, "seed": seed}, inputs, self.write_weights)
        self.parts = [
            self.plan("query_scores", method | {"query": query}, inputs, self.write_scores) for query in range(QUERIES)
        ]
        self.scores = self.plan(
            "attribute", method, inputs, self.write_table, lambda: [plan.get() for plan in self.parts]
        )
        verdict = {"scores": self.scores.address, "queries": self.queries.address}
        self.verdict = self.plan("evaluate", {"protocol": {"class": "LDS"}}, verdict, self.write_table, self.judge)

    def plan(
        self, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], build: Any, prepare: Any = None
    ) -> Plan:
        return self.store.plan(stage, 1, config, inputs, build, prepare)

    def write_facts(self, folder: Path) -> None:
        (folder / "facts.json").write_text(json.dumps({"content": CONTENT}))

    def write_weights(self, folder: Path) -> None:
        self.dataset.get()
        (folder / "ema.safetensors").write_bytes(bytes(range(256)) * 40)

    def write_images(self, folder: Path) -> None:
        self.model.get()
        (folder / "images.safetensors").write_bytes(b"images")

    def write_scores(self, folder: Path) -> None:
        self.queries.get()
        self.unlearned.get()
        (folder / "scores.safetensors").write_bytes(b"scores")

    def judge(self) -> Artifact:
        self.again.get()
        return self.scores.get()

    def write_table(self, folder: Path, prepared: object) -> None:
        assert prepared
        (folder / "queries.csv").write_text("query\n0\n")

    @property
    def everything(self) -> dict[str, Plan]:
        """All plans, by the name of the artifact."""
        plans = [self.dataset, self.model, self.again, self.queries, self.unlearned, *self.parts, self.scores]
        return {plan.name: plan for plan in (*plans, self.verdict)}

    def run(self) -> dict[str, str]:
        """What a command does: look up the verdict first, and name what it shows. Gives the artifacts by role."""
        self.verdict.get()
        roles = {"dataset": self.dataset, "model": self.model, "queries": self.queries}
        return {role: plan.name for role, plan in (roles | {"scores": self.scores, "evaluation": self.verdict}).items()}


def write_run(outputs: Path, name: str, steps: int = STEPS, seed: int = 1, finished: bool = True) -> Chain:
    """A run with its folder below ``runs``."""
    chain = Chain(outputs, steps, seed)
    folder = outputs / "runs" / name
    (folder / ".hydra").mkdir(parents=True)
    overrides = [f"seed={seed}", f"train.steps={steps}", "paths.data=a folder"]
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    config = {"seed": seed, "train": {"steps": steps}, "paths": {"outputs": str(outputs)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    roles = chain.run()
    if finished:
        (folder / "summary.json").write_text(json.dumps({"artifacts": roles}))
    return chain


def make_older(outputs: Path, days: float) -> None:
    """Let everything below a folder be this much older, but for what the provenances say."""
    for path in [outputs, *outputs.rglob("*")]:
        moment = path.lstat().st_mtime - days * DAY
        os.utime(path, (moment, moment), follow_symlinks=False)


def age_artifact(plan: Plan, days: float) -> None:
    """Let an artifact have been made, and asked for last, so many days ago."""
    path = plan.artifact.folder / "provenance.json"
    made = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - days * DAY))
    content = json.loads(path.read_text())
    content = {key: value for key, value in content.items() if key not in ("files", "sha256")} | {"finished": made}
    path.write_text(json.dumps(content))
    moment = time.time() - days * DAY
    os.utime(path.parent, (moment, moment))


def names(outputs: Path) -> set[str]:
    """The artifacts that are there."""
    found = (path for path in (outputs / "artifacts").glob("*/*") if not path.name.startswith("."))
    return {f"{path.parent.name}/{path.name}" for path in found}
