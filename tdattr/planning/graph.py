"""All artifacts that jobs ask for, each once: which are there, which are to be built, and who shares them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tdattr.costs import Cost
from tdattr.pipeline.accuracy import plan_accuracy
from tdattr.pipeline.evaluate import evaluate
from tdattr.pipeline.health import plan_health
from tdattr.pipeline.run import EVALUATE, plan_until
from tdattr.planning.workspace import PlannedWorkspace
from tdattr.store import Plan


@dataclass
class Entry:
    """An artifact. It is ``wanted`` where something that is missing is made of it, or a job ends with it."""

    plan: Plan
    ws: PlannedWorkspace  # of the first job that asked for it
    cost: Cost | None
    finished: bool
    parts: list["Entry"] = field(default_factory=list)
    jobs: set[int] = field(default_factory=set)
    wanted: bool = False

    @property
    def missing(self) -> bool:
        """Whether it is to be built."""
        return self.wanted and not self.finished

    @property
    def shared(self) -> bool:
        """Whether several jobs ask for it."""
        return len(self.jobs) > 1


def ends(ws: PlannedWorkspace) -> list[Plan]:
    """What a job ends with."""
    if ws.until != EVALUATE:
        return plan_until(ws)
    beside = [plan for plan in (plan_health(ws), plan_accuracy(ws)) if plan is not None]
    return [*beside, evaluate(ws)]


class Graph:
    """The artifacts by name, what they are made of before them."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.jobs = 0

    def add(self, ws: PlannedWorkspace) -> None:
        """Everything that a job asks for."""
        for plan in (ws.prepared, *ends(ws)):
            self.visit(self.find(plan, ws), self.jobs, True)
        self.jobs += 1

    def find(self, plan: Plan, ws: PlannedWorkspace) -> Entry:
        """The entry of an artifact, with those of what it is made of."""
        if plan.name not in self.entries:
            cost = None if plan.cost is None else plan.cost()
            entry = Entry(plan, ws, cost, plan.finished)
            entry.parts = [self.find(part, ws) for part in self.needs(cost)]
            self.entries[plan.name] = entry
        return self.entries[plan.name]

    def needs(self, cost: Cost | None) -> Sequence[Plan]:
        """What an artifact is made of."""
        return () if cost is None else cost.needs

    def visit(self, entry: Entry, job: int, wanted: bool) -> None:
        """Note that a job asks for an artifact and for what it is made of, which is wanted where it is missing."""
        if job in entry.jobs and (entry.wanted or not wanted):
            return
        entry.jobs.add(job)
        entry.wanted = entry.wanted or wanted
        for part in entry.parts:
            self.visit(part, job, entry.missing)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())
