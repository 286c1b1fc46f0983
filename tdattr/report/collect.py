"""Finished runs, brought together: what was run under the same settings is pooled over its seeds."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tdattr.artifacts import Artifact, find
from tdattr.errors import UserError

# what may differ between the runs of one comparison
VARIED = ("seed", "method", "ablation", "elbo", "paths", "logger", "trainer", "health", "metrics", "measures")
VARIED_OF_PROTOCOL = ("ceiling", "aggregate")
NAMED = ("dataset.name", "model.name", "diffusion.name", "protocol.name")  # what a title says anyway
# the protocols that there are tables for, and what a title says of their runs; other runs are left out
PROTOCOLS = {
    "leave_k_out": "k = {k}",
    "lds": "{subsets} subsets",
    "logo": "{groups} groups",
    "truth": "{groups} groups",
}


@dataclass(frozen=True)
class Run:
    """One finished run: its folder, what it found, and its composed config."""

    folder: Path
    summary: dict[str, Any]
    config: dict[str, Any]

    def artifact(self, role: str) -> Artifact:
        """An artifact of the run by its role, for example ``queries``."""
        roots = [Path(self.config["paths"]["artifacts"]), *(parent / "artifacts" for parent in self.folder.parents)]
        root = next((root for root in roots if (root / self.summary["artifacts"][role]).is_dir()), roots[0])
        return find(root, self.summary["artifacts"][role])

    def similarities(self) -> pd.DataFrame:
        """A row per query: role, and for each measure the similarity and that after the random removal."""
        return self.per_query

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """What the protocol found for each query."""
        return pd.read_csv(self.artifact("evaluation").folder / "queries.csv")


@dataclass(frozen=True)
class Comparison:
    """The runs under one set of settings, by method and seed."""

    title: str
    config: dict[str, Any]  # of its first run
    runs: dict[str, dict[int, Run]]  # method -> seed -> run

    def first(self, method: str) -> Run:
        """One of the method's runs."""
        return next(iter(self.runs[method].values()))

    def base(self, method: str) -> str:
        """The method's own name, whatever its settings."""
        return self.first(method).config["method"]["name"]

    def ablation(self, method: str) -> str | None:
        """The name of the ablation that was run, if it was one."""
        return self.first(method).config.get("ablation")

    @property
    def unablated(self) -> list[str]:
        """The methods as they are."""
        return [method for method in self.runs if not self.ablation(method)]

    @property
    def protocol(self) -> str:
        """The protocol of all runs."""
        return self.first(next(iter(self.runs))).summary["protocol"]

    @property
    def dataset(self) -> str:
        """The dataset of all runs."""
        return self.first(next(iter(self.runs))).summary["dataset"]

    @property
    def slug(self) -> str:
        """A name for a folder: what was run, and a digest of all settings."""
        summary = self.first(next(iter(self.runs))).summary
        digest = hashlib.sha256(comparison_key(self.config).encode()).hexdigest()[:6]
        return "-".join([*(summary[key] for key in ("dataset", "model", "diffusion", "protocol")), digest])

    @property
    def seeds(self) -> list[int]:
        """All seeds that any method was run with."""
        return sorted({seed for by_seed in self.runs.values() for seed in by_seed})

    @property
    def measures(self) -> list[str]:
        """All measures that any run took."""
        runs = [run for by_seed in self.runs.values() for run in by_seed.values()]
        return list(dict.fromkeys(measure for run in runs for measure in run.summary.get("metrics", {})))

    def took(self, method: str, measure: str) -> bool:
        """Whether every run of the method took the measure."""
        return all(measure in run.summary["metrics"] for run in self.runs[method].values())


def collect(folders: list[Path]) -> list[Comparison]:
    """The comparisons below these folders, the newest run of each (settings, method, seed), newest comparison last.

    Raises UserError where there is no finished run, or none of a protocol that there are tables for.
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
        if run.summary["protocol"] in PROTOCOLS:
            key = comparison_key(config)
            found[key] = [*found.pop(key, []), run]  # the newest comparison last
    if not found:
        raise UserError(
            f"There are finished runs, but none with protocol={' or '.join(PROTOCOLS)}, which are those that "
            "tdattr-report has tables for: name a folder of such runs."
        )
    comparisons = []
    for runs in found.values():
        by_method: dict[str, dict[int, Run]] = {}
        for run, name in zip(runs, named([run.config for run in runs]), strict=True):
            by_method.setdefault(name, {})[run.summary["seed"]] = run
        comparisons.append(Comparison("", runs[-1].config, dict(sorted(by_method.items(), key=order))))
    return titled(comparisons)


def named(configs: list[dict[str, Any]]) -> list[str]:
    """A name for each run by its config: that of the method's variant, and the ablation where it is one."""
    names: dict[int, str] = {}
    for ablation in {config.get("ablation") for config in configs}:
        places = [place for place, config in enumerate(configs) if config.get("ablation") == ablation]
        for place, name in zip(places, variants([settings(configs[place]) for place in places]), strict=True):
            names[place] = f"{name}: {ablation}" if ablation else name
    return [names[place] for place in range(len(configs))]


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What makes a method's variant: its own settings, and how scores of items become scores of groups."""
    aggregate = config.get("protocol", {}).get("aggregate")
    return config["method"] | ({} if aggregate is None else {"aggregate": aggregate})


def variants(configs: list[dict[str, Any]]) -> list[str]:
    """A name for each method config: its own name, and the settings in which its namesakes differ.

    A value that more than half of the namesakes have goes without saying.
    """
    found = [flat(config) for config in configs]
    names = []
    for own in found:
        alike = [other for other in found if other["name"] == own["name"]]
        keys = dict.fromkeys(key for other in [own, *alike] for key in other)  # some have what others lack
        shown = {key: own.get(key, "none") for key in keys}
        agreeing = {key: sum(other.get(key, "none") == value for other in alike) for key, value in shown.items()}
        unusual = [f"{key}={value}" for key, value in shown.items() if 2 * agreeing[key] <= len(alike)]
        names.append(" ".join([own["name"], *unusual]))
    return names


def titled(comparisons: list[Comparison]) -> list[Comparison]:
    """The same comparisons with titles that tell them apart: what was run, and the settings in which they differ."""
    settings = [flat(json.loads(comparison_key(comparison.config))) for comparison in comparisons]
    done = []
    for comparison, own in zip(comparisons, settings, strict=True):
        summary = comparison.first(next(iter(comparison.runs))).summary
        what = ", ".join(summary[key] for key in ("dataset", "model", "diffusion"))
        kind = PROTOCOLS[comparison.protocol].format(**summary)
        title = f"{what}: {comparison.protocol}, {kind}, {summary['num_queries']} queries per seed"
        alike = [other for other in settings if all(other.get(key) == own.get(key) for key in NAMED)]
        differing = [key for key in own if any(other.get(key) != own[key] for other in alike)]
        extra = "".join(f", {key}={own[key]}" for key in differing[:4])
        done.append(replace(comparison, title=title + extra + (" …" if len(differing) > 4 else "")))
    return done


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return result


def order(entry: tuple[str, Any]) -> tuple[bool, str]:
    """Random first, the others by name."""
    return entry[0] != "random", entry[0]


def comparison_key(config: dict[str, Any]) -> str:
    """What two runs must have in common to stand in one table."""
    kept = {name: value for name, value in config.items() if name not in VARIED}
    protocol = config.get("protocol", {})
    kept["protocol"] = {name: value for name, value in protocol.items() if name not in VARIED_OF_PROTOCOL}
    return json.dumps(kept | {"precision": config["trainer"]["precision"]}, sort_keys=True)
