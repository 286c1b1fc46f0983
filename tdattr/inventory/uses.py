"""Which runs use which artifacts: those that their summaries name, and what those were made from."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tdattr.inventory.artifacts import DATASET, Inventory, Stored
from tdattr.inventory.runs import RunFolder

REFERENCE = re.compile(r"([0-9a-f]{16})(?:/|$)")  # begins a value of a config that is another artifact or part of one
NAMED = (DATASET, "attribute", "evaluate")  # stages of which a run uses none but what its summary leads to
SCORES, OF_QUERY, QUERY = "attribute", "query_scores", "query"  # scores, those of a query, and what tells these apart
TRAINING = "pretrain"
CLOCK_SECONDS = 60.0  # by which two machines may differ


@dataclass
class Uses:
    """The runs by the name of the artifact: ``shown``: whose summaries name it, but not as F1; ``served``: that used it
    on the way. ``guessed``: artifacts of which it was not noted who used them."""

    shown: dict[str, list[RunFolder]] = field(default_factory=dict)
    served: dict[str, list[RunFolder]] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)

    def by(self, name: str) -> list[RunFolder]:
        """The runs that use an artifact."""
        return self.shown.get(name, []) + self.served.get(name, [])


def find_uses(inventory: Inventory, runs: Sequence[RunFolder]) -> Uses:
    """Which finished runs use which artifacts."""
    uses = Uses()
    guess = Guess(inventory)
    for run in runs:
        shown = run.shown
        reached = reach(inventory, run.artifacts.values())
        if any(artifact.uses is None for artifact in stored(inventory, reached)):
            guessed = guess.of(reached, run.active + CLOCK_SECONDS)
            uses.guessed |= guessed
            reached |= guessed
        for name in reached:
            (uses.shown if name in shown else uses.served).setdefault(name, []).append(run)
    return uses


def stored(inventory: Inventory, names: Iterable[str]) -> Iterator[Stored]:
    """The artifacts of those names that are stored."""
    return (inventory.artifacts[name] for name in names if name in inventory.artifacts)


def reach(inventory: Inventory, names: Iterable[str]) -> set[str]:
    """Those artifacts and all that they were made from, by name; also those that are not stored any more."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        artifact = inventory.artifacts.get(name) or inventory.by_address.get(name.rpartition("/")[2])
        if artifact is not None:
            waiting += artifact.uses or []
            made_of = (inventory.by_address.get(address) for address in artifact.inputs.values())
            waiting += [other.name for other in made_of if other is not None]
    return reached


class Guess:
    """What runs may have used of artifacts that do not say what was asked for while they were built."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.by_input: dict[str, list[Stored]] = {}
        self.of_queries: dict[str, list[Stored]] = {}  # by the scores that are made of them
        for artifact in inventory.artifacts.values():
            if artifact.stage == OF_QUERY:
                self.of_queries.setdefault(describe_scoring(artifact), []).append(artifact)
            elif artifact.stage not in NAMED:
                for address in artifact.inputs.values():
                    self.by_input.setdefault(address, []).append(artifact)

    def of(self, reached: set[str], latest: float) -> set[str]:
        """What is made of something that a run has reached, was there at the time ``latest``, and is no other run's
        scores; and what that was made from. A training is used where something links it to the run."""
        guessed: set[str] = set()
        waiting = [self.inventory.artifacts.get(name) or name.rpartition("/")[2] for name in reached]
        while waiting:
            made_from = waiting.pop()
            of_dataset = isinstance(made_from, Stored) and made_from.stage == DATASET
            for artifact in self.made_of(made_from):
                if artifact.name in guessed or artifact.name in reached or artifact.made > latest:
                    continue
                if of_dataset and (artifact.stage == TRAINING or len(artifact.inputs) > 1):
                    continue
                new = reach(self.inventory, [artifact.name, *self.references(artifact)]) - guessed - reached
                guessed |= new
                waiting += stored(self.inventory, new)
        return guessed

    def made_of(self, artifact: Stored | str) -> Iterator[Stored]:
        """The artifacts that have this one, or the one of an address, among their inputs."""
        if isinstance(artifact, str):
            yield from self.by_input.get(artifact, [])
        else:
            for address in (artifact.address, artifact.content):
                yield from self.by_input.get(address or "", [])
            if artifact.stage == SCORES:
                yield from self.of_queries.get(describe_scoring(artifact), [])

    def references(self, artifact: Stored) -> Iterator[str]:
        """The artifacts that the config of one names."""
        for value in artifact.config.values():
            match = REFERENCE.match(value) if isinstance(value, str) else None
            other = None if match is None else self.inventory.by_address.get(match[1])
            if other is not None:
                yield other.name


def describe_scoring(artifact: Stored) -> str:
    """Everything that scores depend on, but for the query."""
    config: dict[str, Any] = {name: value for name, value in artifact.config.items() if name != QUERY}
    return json.dumps([config, artifact.inputs], sort_keys=True)
