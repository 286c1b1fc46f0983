"""The store: the immutable result of every stage, under an address made of what went into it."""

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
PROVENANCE = "provenance.json"
PACKAGES = ("torch", "lightning", "numpy", "timm", "torchmetrics")


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: ``stage/address`` names it, ``folder`` holds it."""

    stage: str
    address: str
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.address}"


@dataclass
class Store:
    """Artifacts below ``root``, shared by all runs; safe for several jobs at once on one file system."""

    root: Path
    device: str
    built: list[str] = field(default_factory=list)  # what this run had to build
    used: dict[str, None] = field(default_factory=dict)  # everything that it needed, in order

    def get(
        self,
        stage: str,
        stage_version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        build: Callable[[Path], Mapping[str, Any] | None],
    ) -> Artifact:
        """``offer``, waiting for another job that is building the same artifact."""
        artifact = self.offer(stage, stage_version, config, inputs, build, wait=True)
        assert artifact is not None
        return artifact

    def offer(
        self,
        stage: str,
        stage_version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        build: Callable[[Path], Mapping[str, Any] | None],
        wait: bool,
    ) -> Artifact | None:
        """The artifact of ``stage`` for that config and those inputs; ``build`` writes it where it is not there yet.

        ``build`` gets a folder that keeps its content when the job is killed, so that it can go on there; what it
        returns is added to the provenance. The folder is moved into place in one step once ``build`` has returned. A
        lock makes a second job that wants the same artifact wait for the first one, or, without ``wait``, come back
        with None.
        """
        key = {"stage": stage, "version": stage_version, "config": config, "inputs": dict(inputs)}
        address = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        artifact = Artifact(stage, address, self.root / stage / address)
        self.used[artifact.name] = None
        if artifact.folder.exists():
            return artifact
        artifact.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(artifact.folder.with_name(f".{address}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                return None
            log.info("Waiting for another job that is building %s.", artifact.name)
            lock.acquire()
        try:
            if artifact.folder.exists():
                return artifact
            unfinished = artifact.folder.with_name(f".{address}.unfinished")
            if unfinished.exists():
                log.info("Going on with the unfinished %s.", artifact.name)
            unfinished.mkdir(exist_ok=True)
            started = time.time()
            facts = build(unfinished)
            provenance = key | {
                "facts": dict(facts or {}),
                "seconds": round(time.time() - started, 3),
                "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "device": self.device,
                "packages": {name: version(name) for name in PACKAGES},
                "revision": revision(),
            }
            (unfinished / PROVENANCE).write_text(json.dumps(provenance, indent=2))
            os.replace(unfinished, artifact.folder)
            self.built.append(artifact.name)
            return artifact
        finally:
            lock.release()


def shared_out(attempts: list[Callable[[bool], Artifact | None]]) -> list[Artifact]:
    """The artifacts that those functions make, in their order; each is called with whether it shall wait.

    Jobs that want the same artifacts share the work: what another one is building is left for later.
    """
    found: dict[int, Artifact] = {}
    while missing := [place for place in range(len(attempts)) if place not in found]:
        before = len(found)
        for place in missing:
            artifact = attempts[place](False)
            if artifact is not None:
                found[place] = artifact
        if len(found) == before:  # others are at all that is left
            artifact = attempts[missing[0]](True)
            assert artifact is not None
            found[missing[0]] = artifact
    return [found[place] for place in range(len(attempts))]


def find(root: Path, name: str) -> Artifact:
    """The finished artifact of that name (``stage/address``) below ``root``. Raises FileNotFoundError without it."""
    stage, address = name.split("/")
    if not (root / name).is_dir():
        raise FileNotFoundError(2, "No such artifact", str(root / name))
    return Artifact(stage, address, root / name)


def provenance(artifact: Artifact) -> dict[str, Any]:
    """What went into an artifact, and what was noted while it was built."""
    return json.loads((artifact.folder / PROVENANCE).read_text())


@lru_cache(maxsize=1)
def revision() -> str | None:
    """The git revision of the code, with a plus sign where it was changed since; None for an installed wheel."""
    here = Path(__file__).parent
    if not (here.parent / "pyproject.toml").exists():
        return None
    try:
        run = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
