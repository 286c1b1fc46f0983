"""The runs whose results a store holds, as their folders tell of them."""

import json
import os
import re
import shlex
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tdattr.inventory.words import printable
from tdattr.run_status import RUNNING, is_running, read_status

SUMMARY, CONFIG, OVERRIDES = "summary.json", "config.yaml", ".hydra/overrides.yaml"
MODEL = "model"  # the role of F1; what else a summary names is what the run shows
DEPTH = 3  # folders below that of the runs in which one is looked for; those of a sweep are two below
NAME = re.compile(r"[\w-]+/[\w-]+")  # stage/address: nothing that leads out of the store
SILENT_SECONDS = 86400.0  # after which a run that says nothing more is not taken to be going on


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run. One is ``going`` while its command lasts; it is ``finished`` once it has a summary."""

    folder: Path
    name: str  # below the folder of runs
    artifacts: dict[str, str]  # by role; none before it is finished
    began: float
    active: float  # the last sign of life
    finished: bool
    going: bool
    fault: str | None  # why it is not known what it uses

    @property
    def shown(self) -> set[str]:
        """The artifacts that its summary names but for F1: what its results are read from."""
        return {name for role, name in self.artifacts.items() if role != MODEL}

    def command(self) -> str | None:
        """The command that repeats it; None where that was not noted."""
        try:
            overrides = yaml.safe_load((self.folder / OVERRIDES).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            return None
        if not isinstance(overrides, list):
            return None
        return printable(" ".join(["tdattr", *(shlex.quote(str(override)) for override in overrides)]))


def find_runs(roots: Sequence[Path]) -> list[RunFolder]:
    """The runs below some folders, in the order of their names. A folder that is not there holds none."""
    return [run for root in roots if root.is_dir() for run in find_below(root, root, DEPTH)]


def find_below(root: Path, folder: Path, depth: int) -> Iterator[RunFolder]:
    """The runs in a folder that lies below ``root``, and those that are at most so many folders deeper."""
    try:
        entries = {entry.name: entry for entry in os.scandir(folder)}
    except OSError as error:
        fault = f"its folder cannot be read ({error.strerror})"
        yield RunFolder(folder, name_run(root, folder), {}, 0.0, 0.0, finished=True, going=False, fault=fault)
        return
    if SUMMARY in entries or CONFIG in entries:
        yield read_run(root, folder)
    elif depth:
        for name in sorted(entries):
            if entries[name].is_dir() and not name.startswith("."):
                yield from find_below(root, Path(entries[name].path), depth - 1)


def read_run(root: Path, folder: Path) -> RunFolder:
    """A run by its folder, which has a summary or a config."""
    times = list(list_times([folder, *folder.iterdir(), *(folder / ".hydra").glob("*")]))
    status = read_status(folder) or {}
    said = find_start(status)
    began = min(times) if said is None else min(*times, said)
    finished = (folder / SUMMARY).exists()
    artifacts: dict[str, str] = {}
    fault = None
    if finished:
        try:
            artifacts = read_artifacts(folder / SUMMARY)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            fault = f"its {SUMMARY} cannot be read"
    going = (
        is_going(status, max(times)) if said is not None else not finished and time.time() - max(times) < SILENT_SECONDS
    )
    return RunFolder(folder, name_run(root, folder), artifacts, began, max(times), finished, going, fault)


def name_run(root: Path, folder: Path) -> str:
    """What a run below a folder is called."""
    return folder.relative_to(root).as_posix() if folder != root else folder.name


def list_times(paths: Iterable[Path]) -> Iterator[float]:
    """When files last changed; not those that a run which is going has just replaced, nor links that lead nowhere."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.stat().st_mtime


def read_artifacts(summary: Path) -> dict[str, str]:
    """The artifacts that a summary names, by role. Raises ValueError and others for one that is broken."""
    artifacts = json.loads(summary.read_text())["artifacts"]
    for name in artifacts.values():
        if not NAME.fullmatch(name):
            raise ValueError(name)
    return artifacts


def find_start(status: dict[str, Any]) -> float | None:
    """When a run says that it began, in seconds since 1970; None where it does not say it."""
    try:
        return datetime.fromisoformat(status["started"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None


def is_going(status: dict[str, Any], active: float) -> bool:
    """Whether a run that has left this status goes on: its process is there, or may be on another machine."""
    if status.get("state") != RUNNING:
        return False
    process = status.get("pid")
    if status.get("host") == socket.gethostname() and isinstance(process, int):
        return is_running(process, status.get("process"))
    return time.time() - active < SILENT_SECONDS
