"""What lies in a store: its artifacts with their provenance, and what killed jobs have left beside them."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.integrity import Damaged, read_provenance
from tdattr.inventory.words import printable
from tdattr.locks import SUFFIX as LEASE
from tdattr.store import USES
from tdattr.unfinished import COPY
from tdattr.unfinished import SUFFIX as UNFINISHED

PRUNED = ".pruned"  # ends the name of an artifact that is being deleted
LOCK = ".lock"  # ends the name of a file that older versions left for every artifact
RECORD = "pruned.jsonl"  # in the store: the provenance of what was pruned though runs had used it
FACTS = "facts.json"  # of a dataset; its ``content`` stands for it among the inputs of others
DATASET = "dataset"


@dataclass(frozen=True)
class Stored:
    """An artifact with its provenance; ``damage`` says why it has none. One without a folder was pruned."""

    stage: str
    address: str
    folder: Path | None
    provenance: Mapping[str, Any]
    bytes: int = 0
    asked: float = 0.0  # when it was last asked for, to USE_SECONDS
    damage: str | None = None

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.address}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The part of the configuration that it depends on."""
        return self.provenance.get("config", {})

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What it was made of by its role: an address, the content of a dataset, or the version of a package."""
        return self.provenance.get("inputs", {})

    @property
    def uses(self) -> list[str] | None:
        """The names of the artifacts that were asked for while it was built; None where that was not noted."""
        return self.provenance.get(USES)

    @property
    def seconds(self) -> float:
        """What its own computation took."""
        return self.provenance.get("seconds", 0.0)

    @cached_property
    def made(self) -> float:
        """When it was finished, in seconds since 1970."""
        try:
            return datetime.fromisoformat(self.provenance["finished"]).timestamp()
        except (KeyError, ValueError):
            return self.asked

    @cached_property
    def content(self) -> str | None:
        """The digest that stands for a dataset among the inputs of what is made of it."""
        if self.stage != DATASET or self.folder is None:
            return None
        try:
            content = json.loads((self.folder / FACTS).read_bytes())["content"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged: `verify` says it
            return None
        return content if isinstance(content, str) else None


@dataclass(frozen=True)
class Leftover:
    """What a job that was killed, or an older version, has left in a store."""

    path: Path
    kind: str  # UNFINISHED, PRUNED, LEASE or LOCK
    stage: str
    address: str
    bytes: int
    changed: float  # when something in it last changed

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.address}"


@dataclass(frozen=True)
class Inventory:
    """Everything in the store at ``root``."""

    root: Path
    artifacts: dict[str, Stored]  # by name
    leftovers: list[Leftover]

    @cached_property
    def by_address(self) -> dict[str, Stored]:
        """The artifacts, those that were pruned too, by all that stands for them among the inputs of others."""
        found = {artifact.address: artifact for artifact in read_record(self.root)}
        found |= {artifact.address: artifact for artifact in self.artifacts.values()}
        return found | {artifact.content: artifact for artifact in found.values() if artifact.content is not None}


def read_inventory(root: Path) -> Inventory:
    """Everything in the store at ``root``. Raises UserError where there is none."""
    if not root.is_dir():
        raise UserError(
            f"There is no store of artifacts at {printable(str(root))}: choose the folder of outputs with --outputs or "
            "TDATTR_OUTPUTS, or run tdattr first."
        )
    artifacts: dict[str, Stored] = {}
    leftovers = []
    for stage in sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")):
        for entry in os.scandir(root / stage):
            if entry.name.startswith("."):
                leftover = read_leftover(stage, Path(entry.path))
                leftovers += [] if leftover is None else [leftover]
            elif entry.is_dir():
                artifact = read_artifact(stage, Path(entry.path))
                artifacts[artifact.name] = artifact
    return Inventory(root, artifacts, leftovers)


def read_artifact(stage: str, folder: Path) -> Stored:
    """An artifact, also one that is damaged."""
    provenance: Mapping[str, Any] = {}
    damage = None
    try:
        provenance = read_provenance(folder)
        damage = find_fault(provenance)
    except Damaged as error:
        damage = error.reason
    except OSError as error:
        damage = f"its provenance cannot be read: {error.strerror}"
    if damage is not None:
        provenance = {}
    try:
        size, changed = (0 if folder.is_symlink() else measure(folder)), folder.stat().st_mtime
    except OSError as error:  # no permission, or another job has just deleted it
        size, changed, damage = 0, 0.0, damage or f"it cannot be read: {error.strerror}"
    return Stored(stage, folder.name, folder, provenance, size, changed, damage)


def find_fault(provenance: Any) -> str | None:
    """What is wrong with a provenance that nobody who wrote one by this package would find in it."""
    kinds = {"config": dict, "inputs": dict, "files": dict, USES: list, "seconds": (int, float), "finished": str}
    if not isinstance(provenance, dict):
        return "its provenance is no table"
    for key, kind in kinds.items():
        if key in provenance and not isinstance(provenance[key], kind):  # type: ignore[arg-type]
            return f"the {key} in its provenance cannot be read"
    names = [*provenance.get("inputs", {}).values(), *provenance.get(USES, [])]
    return None if all(isinstance(name, str) for name in names) else "the inputs in its provenance cannot be read"


def read_leftover(stage: str, path: Path) -> Leftover | None:
    """What a hidden file or folder of a store is; None where it is no concern of the store's."""
    kinds = {UNFINISHED: UNFINISHED, COPY: UNFINISHED, PRUNED: PRUNED, LEASE: LEASE, LOCK: LOCK}
    for ending, kind in kinds.items():
        if path.name.endswith(ending) or (kind == LEASE and f"{LEASE}." in path.name):  # one that is being taken over
            address = path.name.lstrip(".").partition(".")[0]  # behind it, the process that was building it
            try:
                times = [path.lstat().st_mtime, *(facts.st_mtime for facts in walk(path))]
                return Leftover(path, kind, stage, address, measure(path), max(times))
            except FileNotFoundError:  # another job has just finished it
                return None
    return None


def measure(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(facts.st_size for facts in walk(path))


def walk(path: Path) -> Iterator[os.stat_result]:
    """The facts of a file, or of all files in a folder; what a link leads to is not counted."""
    if path.is_symlink() or not path.is_dir():
        yield path.lstat()
        return
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        else:
            yield entry.stat(follow_symlinks=False)


def read_record(root: Path) -> Iterator[Stored]:
    """What was pruned from the store though runs had used it."""
    try:
        lines = (root / RECORD).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            stage, address = entry["artifact"].split("/")
            if find_fault(entry["provenance"]) is None:
                yield Stored(stage, address, None, entry["provenance"])
        except (ValueError, KeyError, TypeError, AttributeError):  # half a line, of a process that was killed
            continue
