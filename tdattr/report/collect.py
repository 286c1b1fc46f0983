"""Finished runs, brought together: what was run under the same settings is pooled over its seeds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tdattr.artifacts import Artifact, find
from tdattr.errors import UserError

VARIED = ("seed", "method", "paths", "logger", "trainer")  # what may differ between the runs of one comparison


@dataclass(frozen=True)
class Run:
    """One finished run: its folder, what it found, and its composed config."""

    folder: Path
    summary: dict[str, Any]
    config: dict[str, Any]

    def artifact(self, role: str) -> Artifact:
        """An artifact of the run by its role, for example ``queries``."""
        return find(Path(self.config["paths"]["artifacts"]), self.summary["artifacts"][role])

    def similarities(self) -> pd.DataFrame:
        """A row per query: role, and for each measure the similarity and that after the random removal."""
        return pd.read_csv(self.artifact("evaluation").folder / "queries.csv")


@dataclass(frozen=True)
class Comparison:
    """The runs under one set of settings, by method and seed."""

    title: str
    config: dict[str, Any]  # of its first run
    runs: dict[str, dict[int, Run]]  # method -> seed -> run

    @property
    def seeds(self) -> list[int]:
        """All seeds that any method was run with."""
        return sorted({seed for by_seed in self.runs.values() for seed in by_seed})


def collect(folders: list[Path]) -> list[Comparison]:
    """The comparisons below these folders, the newest run of each (settings, method, seed), newest comparison last.

    Raises UserError where there is no finished run.
    """
    summaries = sorted(
        {path for folder in folders for path in folder.rglob("summary.json")}, key=lambda p: p.stat().st_mtime
    )
    if not summaries:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"There is no finished run (no summary.json) below {places}: name a folder of runs, or run tdattr first."
        )
    found: dict[str, list[Run]] = {}
    for path in summaries:
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        run = Run(path.parent, json.loads(path.read_text()), config)
        if run.summary["protocol"] == "leave_k_out":
            found.setdefault(settings(config), []).append(run)
    comparisons = []
    for runs in found.values():
        by_method: dict[str, dict[int, Run]] = {}
        for run in runs:
            by_method.setdefault(run.summary["method"], {})[run.summary["seed"]] = run
        summary = runs[-1].summary
        what = ", ".join(summary[key] for key in ("dataset", "model", "diffusion"))
        title = f"{what}: {summary['protocol']}, k = {summary['k']}, {summary['num_queries']} queries per seed"
        comparisons.append(Comparison(title, runs[-1].config, dict(sorted(by_method.items(), key=order))))
    return comparisons


def order(entry: tuple[str, Any]) -> tuple[bool, str]:
    """Random first, the others by name."""
    return entry[0] != "random", entry[0]


def settings(config: dict[str, Any]) -> str:
    """What two runs must have in common to stand in one table."""
    kept = {name: value for name, value in config.items() if name not in VARIED}
    return json.dumps(kept | {"precision": config["trainer"]["precision"]}, sort_keys=True)
