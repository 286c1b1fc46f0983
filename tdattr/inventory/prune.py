"""``tdattr-artifacts prune``: delete what no run uses, what finished runs no longer need, and what killed jobs left."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tdattr.errors import UserError
from tdattr.files import sync, writing
from tdattr.inventory.artifacts import LOCK, PRUNED, RECORD, Inventory, Leftover, Stored
from tdattr.inventory.runs import RunFolder
from tdattr.inventory.uses import Uses
from tdattr.inventory.words import count, printable, show_bytes, show_work
from tdattr.locks import SUFFIX as LEASE
from tdattr.locks import acquire, find_owner, is_gone, name_lease, read_lease
from tdattr.store import USE_SECONDS
from tdattr.unfinished import SUFFIX as UNFINISHED

TRAININGS = ("pretrain", "unlearn")  # stages whose results are networks
DAY_SECONDS = 86400.0
ABANDONED_SECONDS = DAY_SECONDS  # without a sign of life of a lease's holder, who gives one every ten seconds
NO_RUN, SERVED = "no run uses", "finished runs no longer need"


@dataclass(frozen=True)
class Wanted:
    """What is to be pruned besides what no run uses."""

    stages: Collection[str] = ()  # of which what finished runs no longer need may go
    intermediate: bool = False  # the same of all stages
    everything: bool = False  # of what no run uses also what is young, and what an unfinished run may resume from
    days: float = 1.0  # for which what no run uses is young


@dataclass
class Choice:
    """What may go, by the reason; and how many artifacts stay, by the reason."""

    artifacts: dict[str, list[Stored]] = field(default_factory=dict)
    leftovers: list[Leftover] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)

    def keep(self, reason: str) -> None:
        """Count something that stays."""
        self.kept[reason] = self.kept.get(reason, 0) + 1

    def both(self, other: "Choice") -> "Choice":
        """What both let go, as this one has it."""
        artifacts = {artifact.name for artifact in other.all}
        leftovers = {leftover.path for leftover in other.leftovers}
        return Choice(
            {reason: [each for each in some if each.name in artifacts] for reason, some in self.artifacts.items()},
            [leftover for leftover in self.leftovers if leftover.path in leftovers],
            self.kept,
        )

    @property
    def bytes(self) -> int:
        """What all of it takes."""
        return sum(artifact.bytes for artifact in self.all) + sum(leftover.bytes for leftover in self.leftovers)

    @property
    def all(self) -> list[Stored]:
        """All artifacts that may go."""
        return [artifact for artifacts in self.artifacts.values() for artifact in artifacts]


def choose(inventory: Inventory, runs: Sequence[RunFolder], uses: Uses, wanted: Wanted) -> Choice:
    """What may go. Nothing does that a run which is going has asked for, or that a finished run shows."""
    choice = Choice()
    for artifact in inventory.artifacts.values():
        if artifact.name in uses.shown:
            continue
        served = artifact.name in uses.served
        if served and not (wanted.intermediate or artifact.stage in wanted.stages):
            continue
        times = [artifact.asked] if artifact.damage else [artifact.made, artifact.asked]
        reason = find_reason(times, runs, wanted, young=not served)
        if reason is None:
            choice.artifacts.setdefault(SERVED if served else NO_RUN, []).append(artifact)
        else:
            choice.keep(reason)
    for leftover in inventory.leftovers:
        reason = None
        if leftover.kind == UNFINISHED and leftover.name not in inventory.artifacts:
            reason = find_reason([leftover.changed], runs, wanted, young=True)
        if reason is None and leftover.kind in (UNFINISHED, LEASE) and is_held(leftover.path.parent, leftover.address):
            reason = "which jobs are building"
        if reason is None:
            choice.leftovers.append(leftover)
        else:
            choice.keep(reason)
    return choice


def find_reason(times: list[float], runs: Sequence[RunFolder], wanted: Wanted, young: bool) -> str | None:
    """Why what was made or asked for at these times stays; None where it may go."""
    latest = max(times)
    for run in runs:
        if run.going and latest >= run.began - USE_SECONDS:
            return f"which {printable(run.name)} may use, a run that seems to be going on"
    if wanted.everything:
        return None
    for run in runs:
        if not run.finished and any(run.began <= moment <= run.active for moment in times):
            return f"from which {printable(run.name)} may resume, a run that is not finished (--all)"
    if young and time.time() - latest < wanted.days * DAY_SECONDS:
        return f"which no run uses but were asked for in the last {24 * wanted.days:g} hours (--all)"
    return None


def prune(root: Path, choice: Choice, again: Callable[[], Choice], yes: bool, dry_run: bool) -> int:
    """Say what goes and what stays, ask, and delete. The status of the command. Raises UserError where nobody can be
    asked, OSError where something cannot be deleted.

    ``again``: what may go by now. It is called once the user has answered: a run may have begun to use some of it.
    """
    for line in list_choice(choice):
        print(line)
    if not choice.artifacts and not choice.leftovers:
        print("There is nothing to prune.")
        return 0
    if dry_run:
        print("Nothing was deleted: this was a dry run.")
        return 0
    if not yes and not confirm():
        print("Nothing was deleted.")
        return 1
    agreed = len(choice.all) + len(choice.leftovers)
    if not yes:
        choice = choice.both(again())
    record(root, choice.artifacts.get(SERVED, []))
    deleted = [artifact for artifact in choice.all if delete(artifact)]
    cleared = [leftover for leftover in choice.leftovers if clear(leftover)]
    size = sum(artifact.bytes for artifact in deleted) + sum(leftover.bytes for leftover in cleared)
    print(f"Deleted {count(len(deleted), 'artifact')} and {count(len(cleared), 'leftover')}: {show_bytes(size)}.")
    if held := agreed - len(deleted) - len(cleared):
        print(f"{held} stayed: another job has asked for them in the meantime, or holds their leases.")
    return 0


def list_choice(choice: Choice) -> Iterator[str]:
    """What goes and what stays, in lines."""
    for reason, artifacts in choice.artifacts.items():
        size = show_bytes(sum(artifact.bytes for artifact in artifacts))
        work = show_work(sum(artifact.seconds for artifact in artifacts))
        yield f"{count(len(artifacts), 'artifact')} that {reason}, {size}, {work} of computing:"
        for stage in sorted({artifact.stage for artifact in artifacts}):
            alike = [artifact for artifact in artifacts if artifact.stage == stage]
            yield f"  {printable(stage)}: {len(alike)}, {show_bytes(sum(artifact.bytes for artifact in alike))}"
    nouns = {UNFINISHED: "unfinished artifact", PRUNED: "half-deleted artifact", LEASE: "lease", LOCK: "lock file"}
    for kind, noun in nouns.items():
        alike_left = [leftover for leftover in choice.leftovers if leftover.kind == kind]
        if alike_left:
            yield f"{count(len(alike_left), noun)}, {show_bytes(sum(leftover.bytes for leftover in alike_left))}"
    for reason, number in choice.kept.items():
        yield f"Kept: {number}, {reason}."


def confirm() -> bool:
    """Whether the user agrees. Raises UserError where there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise UserError("Nothing was deleted, as nobody can be asked here: add --yes, or --dry-run to only look.")
    try:
        return input("Delete them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl+D
        return False


def record(root: Path, artifacts: list[Stored]) -> None:
    """Keep the provenance of what runs have used, so that `explain` can tell of it when it is gone."""
    lines = [
        json.dumps({"artifact": artifact.name, "provenance": artifact.provenance}) + "\n"
        for artifact in artifacts
        if artifact.damage is None
    ]
    if lines:
        with writing(root, "--outputs"), (root / RECORD).open("a") as file:
            file.writelines(["\n", *lines])  # a line that a killed process left unended ends here
        sync(root / RECORD)


def delete(artifact: Stored) -> bool:
    """Delete an artifact, unless a job holds its lease or has asked for it meanwhile. It loses its name in one step:
    what is left when this is killed is no half artifact."""
    assert artifact.folder is not None
    with holding(artifact.folder.parent, artifact.address) as held:
        try:
            if not held or artifact.folder.stat().st_mtime != artifact.asked:
                return False
        except FileNotFoundError:
            return False
        aside = artifact.folder.with_name(f".{artifact.address}{PRUNED}")
        remove(aside)
        os.rename(artifact.folder, aside)
        remove(aside)
        return True


def clear(leftover: Leftover) -> bool:
    """Delete a leftover, unless a job holds its lease. That of a job that is gone goes as it is taken over."""
    with holding(leftover.path.parent, leftover.address) as held:
        if held and leftover.path.name != f".{leftover.address}{LEASE}":
            aside = leftover.path.with_name(f".{leftover.address}{PRUNED}")
            if leftover.path != aside:
                remove(aside)
                os.rename(leftover.path, aside)
            remove(aside)
        return held


def remove(path: Path) -> None:
    """Delete a folder, a file or a link, but nothing that a link leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


@contextmanager
def holding(stage: Path, address: str) -> Iterator[bool]:
    """Hold the lease of an address while this lasts; False where a job holds it, perhaps on another machine."""
    lease = acquire(stage / f".{address}", None, find_abandoned(stage, address))
    try:
        yield lease is not None
    finally:
        if lease is not None:
            lease.release()


def is_held(stage: Path, address: str) -> bool:
    """Whether a job is building what has this address; also where its lease cannot be read."""
    try:
        content = read_lease(stage / f".{address}")
        return content not in (None, find_abandoned(stage, address)) and not is_gone(find_owner(content or ""))
    except OSError:
        return True


def find_abandoned(stage: Path, address: str) -> str | None:
    """What the lease of an address holds, where its holder has not counted in it for ABANDONED_SECONDS: a job of
    another machine, or from before this one was started, of which nobody can tell that it is gone. Else None."""
    path = stage / f".{address}"
    content = read_lease(path)  # before its time: what is written in between is not taken for old
    try:
        return content if time.time() - name_lease(path).stat().st_mtime >= ABANDONED_SECONDS else None
    except FileNotFoundError:
        return None
