"""Artifacts that are built at once, where that is faster than one after the other."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdattr.files import writing
from tdattr.integrity import is_sealed
from tdattr.locks import Watch, acquire, name_lease
from tdattr.stopwatch import timed
from tdattr.unfinished import open_unfinished

if TYPE_CHECKING:
    from tdattr.store import Plan, Store

Built = Mapping[str, Any] | Exception  # what a provenance shall hold, or why it could not be built


class Joint(ABC):
    """What an artifact is made by that can be built together with others."""

    @property
    @abstractmethod
    def kind(self) -> Any:
        """Those whose kinds are equal, and can be hashed, can be built together; None: it is built alone."""

    @abstractmethod
    def most(self, wanted: int) -> int:
        """How many are built at once where so many are wanted; 1: one after the other."""

    @abstractmethod
    def build(self, members: Sequence[Any], folders: Sequence[Path]) -> Sequence[Built]:
        """Build each of ``members``, objects of this class, in its folder, and resume there from what was left."""


@dataclass
class Together:
    """Builds those of some artifacts at once that can be. What goes together is found once, when it is first asked for;
    ``idle``: the kinds of which nothing was free when it was last tried."""

    plans: "Sequence[Plan]"
    watch: Watch
    idle: set[Any] = field(default_factory=set)

    @cached_property
    def kinds(self) -> "Sequence[Any]":
        """The kind of each artifact; None: it is built alone, as nothing else is missing that goes with it."""
        kinds = [None if plan.joint is None or plan.finished else plan.joint.kind for plan in self.plans]
        counts = Counter(kinds)
        return [kind if counts[kind] > 1 else None for kind in kinds]

    def begin_pass(self) -> None:
        """Other jobs may have left something meanwhile."""
        self.idle.clear()

    def build_with(self, index: int) -> None:
        """Build at once as many as go with that one, are missing and are built by no other job.

        Nothing happens where it is there, or is built alone, or where there are fewer than two. Each becomes an
        artifact as it would by ``Plan.get``; its seconds are its share. One that fails costs the others nothing: they
        are finished before its error is raised.
        """
        kind, first = self.kinds[index], self.plans[index]
        if kind is None or kind in self.idle or first.finished:
            return
        later = zip(self.plans[index:], self.kinds[index:], strict=True)
        alike = [plan for plan, other in later if other == kind and not plan.finished]
        assert first.joint is not None
        if not build_some(alike, first.joint, self.watch):
            self.idle.add(kind)


def build_some(alike: "Sequence[Plan]", joint: Joint, watch: Watch) -> bool:
    """Build at once as many of them as are free and shall be; False where these are fewer than two."""
    most = joint.most(len(alike)) if len(alike) > 1 else 1
    if most < 2:
        return False
    with ExitStack() as held:
        taken: list[Plan] = []
        for plan in alike:
            if len(taken) < most and take(plan, watch, held):
                taken.append(plan)
        if len(taken) > 1:
            with writing(taken[0].store.root):
                build_taken(taken, joint)
        return len(taken) > 1


def take(plan: "Plan", watch: Watch, held: ExitStack) -> bool:
    """Take the lease of an artifact for as long as ``held`` lasts; False where another job has it or has built it."""
    with writing(plan.store.root):
        plan.artifact.folder.parent.mkdir(parents=True, exist_ok=True)
        lease = acquire(plan.lease, None, watch.find_expired(name_lease(plan.lease)))
    if lease is None:
        return False
    held.callback(lease.release)
    return not plan.finished


def build_taken(plans: "Sequence[Plan]", joint: Joint) -> None:
    """Build artifacts whose leases are held; what an interrupted attempt has sealed is not built again."""
    folders = [open_unfinished(plan.artifact.folder) for plan in plans]
    missing = [(plan, folder) for plan, folder in zip(plans, folders, strict=True) if not is_sealed(folder)]
    failed: dict[str, Exception] = {}
    if missing:
        with shared_clock(plans[0].store, [folder for _, folder in missing]) as clocks:
            built = joint.build([plan.joint for plan, _ in missing], [folder for _, folder in missing])
            for (plan, folder), facts, seconds in zip(missing, built, clocks, strict=True):
                if isinstance(facts, Exception):
                    failed[plan.name] = facts
                else:
                    plan.seal(folder, facts, seconds(), len(missing))
    for plan in plans:
        if plan.name not in failed:
            plan.write_or_find(plan.artifact, ())  # gives the sealed folder its name
    for error in failed.values():
        raise error


@contextmanager
def shared_clock(store: "Store", folders: Sequence[Path]) -> Iterator[list[Callable[[], float]]]:
    """While this lasts, what is built in each of several folders is timed by its share of what they take together,
    without the other artifacts that are asked for on the way. Gives what tells the seconds of each."""
    started, depth = time.perf_counter(), len(store.nested)
    store.nested.append(0.0)
    store.asked.append({})

    def share() -> float:
        return (time.perf_counter() - started - store.nested[depth]) / len(folders)

    try:
        with ExitStack() as clocks:
            yield [clocks.enter_context(timed(folder, share)) for folder in folders]
    finally:
        store.nested.pop()
        store.nested[-1] += time.perf_counter() - started
        store.asked.pop()
