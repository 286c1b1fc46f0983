"""The store: the immutable result of every stage, under an address made of what went into it."""

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tdattr.costs import Cost, record
from tdattr.files import sync, writing
from tdattr.integrity import check_files, is_sealed, read_provenance, seal
from tdattr.interim import remove_interim
from tdattr.joint import Joint, Together
from tdattr.locks import Watch, acquire, name_lease, read_lease
from tdattr.progress import Bar
from tdattr.stopwatch import timed
from tdattr.unfinished import clear_unfinished, open_unfinished

log = logging.getLogger(__name__)
PACKAGES = ("torch", "lightning", "numpy", "timm", "torchmetrics", "diffusers", "peft", "transformers")
USES = "uses"  # in a provenance: the artifacts that were asked for while it was built; older versions did not note it
USE_SECONDS = 3600.0  # to which it is known when an artifact was last asked for
REVISION = "REVISION"  # a file beside a copy of the package that says which revision was copied
TOGETHER = "together"  # ends what artifacts are like that were built at once
LOOK_SECONDS = 0.5  # between two looks for what another job is expected to build


Build = Callable[[Path], Mapping[str, Any] | None]  # writes into a folder; returns what the provenance shall hold


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: ``stage/address`` names it, ``folder`` holds it."""

    stage: str
    address: str
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.address}"

    def checked(self) -> "Artifact":
        """Itself. Raises UserError where one of its files is missing or damaged."""
        check_files(self.folder)
        return self


@dataclass(frozen=True)
class Plan:
    """An artifact that has an address before it is there: it is looked up, and built only where it is missing.

    ``build`` gets a folder that keeps its content when the job is killed, so that it can resume there; what it returns
    is added to the provenance. ``prepare`` runs before the lease is taken: for work that is made of other artifacts,
    which jobs that want this one share out between them. ``build`` then gets what it returned as a second argument.
    ``label`` says what is built, for one who waits for it. ``cost``: what building it takes, counted beforehand, and
    what it is made of; None: unknown. ``like``: the seconds of artifacts of its stage with the same value are in
    proportion to their work; empty: they are next to none. ``joint``: what builds it together with others, which
    ``share_out`` does; None: it is built alone.
    """

    store: "Store"
    stage: str
    key: Mapping[str, Any]  # everything that the artifact depends on
    build: Callable[..., Mapping[str, Any] | None]
    prepare: Callable[[], Any] | None = None
    label: Callable[[], str] | None = None
    cost: Callable[[], Cost | None] | None = None
    like: str = ""
    joint: Joint | None = None

    def joining(self, joint: Joint | None) -> "Plan":
        """The same artifact, which can be built together with others."""
        return replace(self, joint=joint)

    def costing(self, cost: Callable[[], Cost | None]) -> "Plan":
        """The same artifact, with what it costs."""
        return replace(self, cost=cost)

    @cached_property
    def address(self) -> str:
        """A digest of the key."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def artifact(self) -> Artifact:
        """What it will be, or is."""
        return Artifact(self.stage, self.address, self.store.root / self.stage / self.address)

    @property
    def name(self) -> str:
        """``stage/address``."""
        return f"{self.stage}/{self.address}"

    @property
    def finished(self) -> bool:
        """Whether it is there."""
        return self.artifact.folder.exists()

    def get(self) -> Artifact:
        """The artifact, built where it is missing; waits for another job that is building it."""
        artifact = self.offer(wait=True)
        assert artifact is not None
        return artifact

    def offer(self, wait: bool, watch: Watch | None = None) -> Artifact | None:
        """``get``, but without ``wait`` None where another job is building it; one that is gone, as ``watch`` knows,
        is not.

        The folder is moved into place in one step once ``build`` has returned and everything is on the disk. A lease
        makes a second job that wants the same artifact wait for the first one; where it was lost and two have built it,
        the first to finish counts. Raises UserError for a damaged artifact and where the disk is full.
        """
        artifact = self.artifact
        started, nested, asked = time.perf_counter(), self.store.nested, self.store.asked
        nested.append(0.0)
        asked.append({})
        try:
            if artifact.folder.exists():
                return use(artifact)
            return self.build_under_lock(artifact, wait, watch)
        finally:
            nested.pop()
            nested[-1] += time.perf_counter() - started
            asked.pop()
            asked[-1][artifact.name] = None

    def build_under_lock(self, artifact: Artifact, wait: bool, watch: Watch | None = None) -> Artifact | None:
        """``offer`` for an artifact that is not there."""
        arguments = () if self.prepare is None else (self.prepare(),)
        with writing(self.store.root):
            artifact.folder.parent.mkdir(parents=True, exist_ok=True)
            expired = None if watch is None else watch.find_expired(name_lease(self.lease))
            lease = acquire(self.lease, self.describe_wait if wait else None, expired)
        if lease is None:
            return None
        try:
            if artifact.folder.exists():
                return use(artifact)
            with writing(self.store.root):
                return self.write_or_find(artifact, arguments)
        finally:
            lease.release()

    def leave_to_others(self, seconds: float) -> None:
        """Return once the artifact is there, or once nobody has been building it for so long."""
        left, seen = seconds, read_lease(self.lease)
        while left > 0 and not self.finished:
            time.sleep(LOOK_SECONDS)
            left -= LOOK_SECONDS
            if (content := read_lease(self.lease)) != seen:
                left, seen = seconds, content

    @property
    def lease(self) -> Path:
        """The name of what one who builds it holds."""
        return self.artifact.folder.with_name(f".{self.address}")

    def describe_wait(self) -> str:
        """What one waits for who wants this artifact while another job builds it."""
        doing = "another job" if self.label is None else f"another job, {self.label()}"
        return f"{doing}, which builds {self.name}"

    def write_or_find(self, artifact: Artifact, arguments: tuple[Any, ...]) -> Artifact:
        """The artifact, built under its lease, or as another job has built it that took the lease over meanwhile."""
        try:
            self.write(artifact, arguments)
        except Exception:
            if not artifact.folder.exists():
                raise
            log.info("Another job has built %s in the meantime.", self.name)
            artifact.checked()
        clear_unfinished(artifact.folder)
        return artifact

    def write(self, artifact: Artifact, arguments: tuple[Any, ...]) -> None:
        """Build the artifact; what an interrupted attempt has sealed is not built again. It gets its name once it is on
        the disk, unless another one has it already."""
        unfinished = open_unfinished(artifact.folder)
        if not is_sealed(unfinished):
            self.make(unfinished, arguments)
        remove_interim(unfinished)
        os.replace(unfinished, artifact.folder)  # fails where there is one
        sync(artifact.folder.parent)
        self.store.built.append(artifact.name)

    def make(self, unfinished: Path, arguments: tuple[Any, ...]) -> None:
        """Build what the artifact holds, and seal it."""
        started, nested = time.perf_counter(), self.store.nested
        depth, elsewhere = len(nested) - 1, nested[-1]
        with timed(unfinished, lambda: time.perf_counter() - started - (nested[depth] - elsewhere)) as spent:
            facts = self.build(unfinished, *arguments)
            seconds = spent()
        self.seal(unfinished, facts, seconds)

    def seal(self, unfinished: Path, facts: Mapping[str, Any] | None, seconds: float, together: int = 1) -> None:
        """Seal what was built in so many seconds, its share where so many were built ``together``: such seconds say
        nothing of one that is built alone."""
        like = self.like if together == 1 else f"{self.like}, {TOGETHER}"
        work = record(self.cost(), like) if self.like and self.cost is not None else {}
        content = dict(self.key) | {
            USES: list(self.store.asked[-1]),
            "facts": dict(facts or {}),
            "seconds": round(seconds, 3),  # of all attempts, without those of other artifacts that it asked for
            **work,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": self.store.device,
            "packages": packages(),
            "revision": revision(),
        }
        seal(unfinished, content)


@dataclass
class Store:
    """Artifacts below ``root``, shared by all runs; safe for several jobs at once on one file system."""

    root: Path
    device: str
    built: list[str] = field(default_factory=list)  # what this run had to build
    nested: list[float] = field(default_factory=lambda: [0.0])
    # seconds spent so far on the artifacts that each build that is running has asked for; the first: outside of any
    asked: list[dict[str, None]] = field(default_factory=lambda: [{}])  # their names, in their order
    call_workers: Callable[[], None] = lambda: None  # called when there is something to share out

    def rest(self, watch: Watch, describe: Callable[[], str]) -> None:
        """Rest while other jobs build what one wants: no work of the artifact that one builds."""
        started = time.perf_counter()
        watch.rest(describe)
        self.nested[-1] += time.perf_counter() - started

    def plan(
        self,
        stage: str,
        version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        build: Callable[..., Mapping[str, Any] | None],
        prepare: Callable[[], Any] | None = None,
        label: Callable[[], str] | None = None,
        cost: Callable[[], Cost | None] | None = None,
        like: str = "",
    ) -> Plan:
        """The artifact of ``stage`` for that config and those inputs (name -> address); nothing is computed yet.

        ``version``: raised whenever the stage computes something else from the same config.
        """
        key = {"stage": stage, "version": version, "config": dict(config), "inputs": dict(inputs)}
        return Plan(self, stage, key, build, prepare, label, cost, like)


def use(artifact: Artifact) -> Artifact:
    """A finished artifact, checked. The time of its folder says when it was last asked for, by which ``tdattr-artifacts
    prune`` knows what a job may still be using."""
    with suppress(OSError):  # who may not write there may not prune either
        if time.time() - artifact.folder.stat().st_mtime > USE_SECONDS:
            os.utime(artifact.folder)
    return artifact.checked()


def share_out(plans: Sequence[Plan], description: str | None = None, workers: bool = True) -> list[Artifact]:
    """The artifacts of those plans, in their order; with a progress bar where it has a ``description``. ``workers``:
    whether the command's other workers are started for them.

    Jobs that want the same artifacts share the work: what another one is building is left for later.
    """
    finished = {index: plan.get() for index, plan in enumerate(plans) if plan.finished}
    bar = Bar(description or "", len(plans), len(finished), hidden=description is None or len(finished) == len(plans))
    if workers and len(plans) - len(finished) > 1:
        plans[0].store.call_workers()
    watch = Watch()
    together = Together(plans, watch)
    try:
        while missing := [index for index in range(len(plans)) if index not in finished]:
            before = len(finished)
            together.begin_pass()
            for index in missing:
                together.build_with(index)
                artifact = plans[index].offer(wait=False, watch=watch)
                if artifact is not None:
                    watch.end_wait()
                    finished[index] = artifact
                    bar.advance()
            if len(finished) == before:  # other jobs are building all that is left
                plans[0].store.rest(watch, plans[missing[0]].describe_wait)
    finally:
        watch.end_wait()
        bar.close()
    return [finished[index] for index in range(len(plans))]


def find(root: Path, name: str) -> Artifact:
    """The finished artifact of that name (``stage/address``) below ``root``. Raises FileNotFoundError without it,
    UserError where it is damaged."""
    stage, address = name.split("/")
    if not (root / name).is_dir():
        raise FileNotFoundError(2, "No such artifact", str(root / name))
    return Artifact(stage, address, root / name).checked()


def provenance(artifact: Artifact) -> dict[str, Any]:
    """What went into an artifact, and what was noted while it was built. Raises UserError where it is damaged."""
    return read_provenance(artifact.folder)


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """The versions of what results depend on."""
    return {name: version(name) for name in PACKAGES}


@lru_cache(maxsize=1)
def revision() -> str | None:
    """The git revision of the code, with a plus sign where it was changed since; None for an installed wheel."""
    here = Path(__file__).parent
    if (here.parent / REVISION).exists():
        return (here.parent / REVISION).read_text(encoding="utf-8") or None
    if not (here.parent / "pyproject.toml").exists():
        return None
    try:
        run = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
