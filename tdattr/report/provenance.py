"""What was run: the command, the versions and the checksums behind every number of an experiment."""

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from tdattr.integrity import FILES, digest_content
from tdattr.report.collect import CONFIG, UNREADABLE, Experiment, Run, describe_error
from tdattr.run_status import OVERRIDES
from tdattr.store import provenance


@dataclass(frozen=True)
class Origin:
    """That of one run. ``artifacts``: role, name, when it was finished, SHA-256 of its provenance, which has those of
    its files; of a damaged one the reason in place of these."""

    method: str
    seed: int
    folder: str
    command: str | None  # that it was; None: its overrides were not kept
    replay: str | None  # that repeats it exactly, from any folder
    device: str
    warnings: list[str]
    artifacts: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Origins:
    """Those of an experiment; the versions and revisions of what built its artifacts."""

    runs: list[Origin]
    packages: dict[str, str]
    revisions: str


def trace(experiment: Experiment) -> Origins:
    """What is known of every run."""
    seen: dict[str, dict[str, Any]] = {}
    runs = [
        trace_run(method, seed, run, seen)
        for method, by_seed in experiment.runs.items()
        for seed, run in sorted(by_seed.items())
    ]
    versions: dict[str, dict[str, None]] = {}
    for content in seen.values():
        for package, version in content.get("packages", {}).items():
            versions.setdefault(package, {})[version] = None
    revisions = dict.fromkeys(content["revision"] for content in seen.values() if content.get("revision"))
    return Origins(runs, {name: ", ".join(found) for name, found in versions.items()}, ", ".join(revisions))


def trace_run(method: str, seed: int, run: Run, seen: dict[str, dict[str, Any]]) -> Origin:
    """One run; the provenances that were read are added to ``seen``."""
    artifacts = []
    for role, name in run.summary["artifacts"].items():
        try:
            if name not in seen:
                seen[name] = provenance(run.artifact(role))
            content = seen[name]
            digest = digest_content(content) if FILES in content else ""  # older versions did not note any
            artifacts.append((role, name, content.get("finished", ""), digest))
        except UNREADABLE as error:
            artifacts.append((role, str(name), describe_error(error), ""))
    device, command = run.summary.get("device") or "", read_command(run)
    replay = None if command is None else shlex.join(["tdattr", "--config", str((run.folder / CONFIG).absolute())])
    warnings = list(map(str, run.summary.get("warnings", [])))
    return Origin(method, seed, str(run.folder), command, replay, device, warnings, artifacts)


def read_command(run: Run) -> str | None:
    """The command of a run, as a shell takes it."""
    try:
        overrides = yaml.safe_load((run.folder / OVERRIDES).read_text(encoding="utf-8"))
        return shlex.join(["tdattr", *map(str, overrides)])
    except UNREADABLE:
        return None
