"""Finished runs that are only pretended."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import save_file

from tdattr.protocols.group_agreement import judge
from tdattr.report.collect import collect
from tdattr.report.sheet import Sheet
from tdattr.report.sheets import make_sheets
from tdattr.tables import write_table

UNPICTURED = "tdattr.report.catalogue.Catalogue.show_queries"  # to patch: pretended runs have no pictures
QUERIES, CONTROLS, ITEMS, K = 6, 3, 30, 3


class Outputs:
    """Writes finished runs, each newer than the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def run(
        self,
        method: str,
        seed: int,
        shift: float = 0.0,
        controls: int = CONTROLS,
        dataset: str = "tiny",
        measures: Sequence[str] = ("ssim",),
        summary: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        lower: float = 0.0,
        **config: Any,
    ) -> pd.DataFrame:
        """A run in which the method's similarities lie ``shift`` below those of the random removal, on average.

        All lie ``lower`` than they would. ``settings`` are the method's; ``summary`` and ``config`` replace or add
        entries of these files.
        """
        rng = np.random.default_rng(self.count + 1)
        roles = ["attributed"] * QUERIES + ["control"] * controls
        table = pd.DataFrame({"query": range(len(roles)), "role": roles})
        for measure in measures:
            table[f"{measure}_random"] = rng.uniform(0.4, 0.8, len(roles)) - lower
            after = rng.uniform(0.4, 0.8, len(roles)) - lower
            table[measure] = after - shift * np.array([role == "attributed" for role in roles])
        found = {
            "protocol": "leave_k_out",
            "title": f"k = {K}",
            "k": K,
            "metrics": {measure: {} for measure in measures},
            "overlap_percent": 10.0 * seed,
            "overlap_ci95": 3.0 * seed,
            "removed": 20 * seed,
        }
        config["method"] = {"name": method} | (settings or {})
        self.write(method, seed, dataset, table, found | (summary or {}), config)
        return table

    def lds(self, method: str, seed: int, summary: dict[str, Any] | None = None, **config: Any) -> pd.DataFrame:
        """A run with the linear datamodeling score."""
        table = pd.DataFrame(
            {"query": range(QUERIES), "lds": np.random.default_rng(self.count).normal(0.3, 0.1, QUERIES)}
        )
        result = {"mean": table["lds"].mean(), "low": 0.2, "high": 0.4}
        found = {"protocol": "lds", "title": "32 subsets", "lds": result, "subsets": 32, "repeats": 1}
        self.write(method, seed, "tiny", table, found | (summary or {}), {"protocol": {"name": "lds"}} | config)
        return table

    def rises(
        self,
        method: str,
        seed: int,
        shift: float = 0.0,
        pictures: list[dict[str, Any]] | None = None,
        summary: dict[str, Any] | None = None,
        **config: Any,
    ) -> pd.DataFrame:
        """A run in which losses rise by ``shift`` percent more without what the method names than without random
        items, on average."""
        rng = np.random.default_rng(self.count + 1)
        randoms = rng.normal(1.0, 0.5, (QUERIES, 3))
        table = pd.DataFrame({"query": range(QUERIES), "loss": rng.uniform(0.1, 0.2, QUERIES)})
        table["rise_percent"] = rng.normal(1.0 + shift, 0.5, QUERIES)
        table["random_rise_percent"] = randoms.mean(1)
        table["random_rise_most_percent"] = randoms.max(1)
        excess = table["rise_percent"] - table["random_rise_percent"]
        found = {
            "protocol": "removal_loss",
            "title": f"k = {K}",
            "k": K,
            "removed": 20,
            "rise_percent": float(table["rise_percent"].mean()),
            "random_rise_percent": float(table["random_rise_percent"].mean()),
            "excess_percent": {"mean": float(excess.mean()), "low": float(excess.min()), "high": float(excess.max())},
            "pictures": pictures or [],
            "above_all_random": float((table["rise_percent"] > table["random_rise_most_percent"]).mean()),
        }
        self.write(
            method, seed, "tiny", table, found | (summary or {}), {"protocol": {"name": "removal_loss"}} | config
        )
        return table

    def bank(
        self,
        method: str,
        warnings: Sequence[str] = (),
        ranking: Sequence[dict[str, Any]] = (),
        ceilings: dict[str, float] | None = None,
        **measured: float,
    ) -> None:
        """A run judged by a bank, with these means, whose intervals reach 0.1 to each side. ``ceilings``: those that
        are not 0.9."""
        rng = np.random.default_rng(len(method))
        table = pd.DataFrame(
            {"query": range(QUERIES)} | {name: mean + rng.random(QUERIES) for name, mean in measured.items()}
        )
        ends = {
            name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "ceiling": (ceilings or {}).get(name, 0.9)}
            for name, mean in measured.items()
        }
        found = {"protocol": "bank", "title": "bank of tiny", "bank": ends, "warnings": list(warnings)}
        found["ranking"] = list(ranking)
        self.write(method, 1, "tiny", table, found, {"protocol": {"name": "bank"}})

    def groups(
        self,
        method: str,
        seed: int,
        gold: np.ndarray,
        scores: np.ndarray,
        ceiling: Any = None,
        settings: dict[str, Any] | None = None,
        steps: int | None = None,
        names: Sequence[str] | None = None,
        summary: dict[str, Any] | None = None,
        **config: Any,
    ) -> None:
        """A run judged by its agreement with a gold matrix, [query, group]; ``ceiling`` is a second one. ``summary``
        adds entries."""
        verdict = judge(
            gold,
            scores,
            list(names or (f"group {place}" for place in range(gold.shape[1]))),
            200,
            [] if ceiling is None else [ceiling],
        )
        facts = {} if steps is None else {"training_steps": float(steps)}
        found = {"protocol": "logo", "title": verdict.title, "facts": facts, **verdict.summary, **(summary or {})}
        table = pd.DataFrame(verdict.table)
        own = {"protocol": {"name": "logo"}, "method": {"name": method} | (settings or {})}
        self.write(method, seed, "tiny", table, found, own | config)

    def write(
        self, method: str, seed: int, dataset: str, table: pd.DataFrame, found: dict[str, Any], config: dict[str, Any]
    ) -> None:
        """Write the artifacts, the config and the summary of a run."""
        self.count += 1
        artifacts = {role: f"{role}/{self.count}" for role in ("evaluation", "scores")}
        for name in artifacts.values():
            (self.root / "artifacts" / name).mkdir(parents=True)
            (self.root / "artifacts" / name / "provenance.json").write_text("{}")  # as of a version without digests
        write_table(self.root / "artifacts" / artifacts["evaluation"] / "queries.csv", table)
        scores = torch.from_numpy(np.random.default_rng(self.count).random((QUERIES, ITEMS), np.float32))
        save_file({"scores": scores}, self.root / "artifacts" / artifacts["scores"] / "scores.safetensors")
        np.save(self.root / "artifacts" / artifacts["scores"] / "ids.npy", np.arange(ITEMS))
        folder = self.root / "runs" / f"run {self.count}"
        folder.mkdir(parents=True)
        summary = {
            "dataset": dataset,
            "model": "dit",
            "diffusion": "edm",
            "method": method,
            "seed": seed,
            "num_queries": QUERIES,
            "seconds_per_query": 0.5 * seed,
            "device": "cpu",
            "artifacts": artifacts,
        }
        (folder / "summary.json").write_text(json.dumps(summary | found))
        full = {
            "seed": seed,
            "dataset": {"name": dataset},
            "model": {"name": "dit"},
            "diffusion": {"name": "edm"},
            "protocol": {"name": found["protocol"]},
            "method": {"name": method},
            "train": {"steps": 5},
            "trainer": {"precision": "32-true", "workers": self.count},
            "workers": self.count,
            "paths": {"artifacts": str(self.root / "artifacts")},
            "logger": {"name": str(self.count)},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(full | config))
        os.utime(folder / "summary.json", (self.count, self.count))


def made(outputs: Outputs) -> dict[str, Sheet]:
    """The tables of the only experiment."""
    (experiment,) = collect([outputs.root]).experiments
    return {sheet.name: sheet for sheet in make_sheets(experiment)}


def shown(sheet: Sheet, key: str = "method") -> dict[str, dict[str, str]]:
    """The cells as they are printed, by the first word of each row."""
    return {str(row[key]): {column: str(cell) for column, cell in row.items()} for row in sheet.rows}
