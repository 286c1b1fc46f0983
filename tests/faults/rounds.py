"""Rounds: one command on an empty store, disturbed some times, repeated until it completes, and compared."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.attempts import Attempt, Blow, Broken, Ended
from tests.faults.content import artifacts, contents, differences, leftovers, results, used

MOST_FAULTS = 6  # in a round
KINDS = {"operation": 0.5, "clock": 0.35, "anywhere": 0.15}  # of moments, and how often each is chosen
FULL = "make room there and run the same command again, which resumes"


@dataclass(frozen=True)
class Built:
    """What an undisturbed run has built: the number of file operations inside it, and the seconds."""

    name: str
    operations: int
    seconds: float

    @property
    def stage(self) -> str:
        """Its first part."""
        return self.name.split("/")[0]


@dataclass
class Case:
    """A command, a function of `tdattr.cli`, and what an undisturbed run of it builds, holds and finds."""

    name: str
    arguments: list[str]
    folder: Path
    command: str = "main"
    built: list[Built] = field(default_factory=list)
    seconds: float = 0.0
    contents: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def run_undisturbed(self) -> None:
        """Raises Broken where it fails, too."""
        outputs, run = self.folder / "undisturbed", self.folder / "undisturbed" / "run"
        outputs.mkdir(parents=True)
        arguments = [*self.arguments, f"hydra.run.dir={run}"]
        ended = Attempt(self.command, arguments, outputs, self.folder / "undisturbed.log").wait()
        if ended.status:
            raise Broken(f"{self.name} fails undisturbed: see {self.folder / 'undisturbed.log'}")
        begun = {line["name"]: line["time"] for line in ended.said if line["what"] == "begin"}
        for line in ended.said:
            if line["what"] == "finish":
                self.built.append(Built(line["name"], line["operations"], line["time"] - begun[line["name"]]))
        self.seconds = ended.said[-1]["time"] - ended.said[0]["time"]
        self.contents, self.results = contents(outputs / "artifacts"), results(run)
        self.used = used(outputs / "artifacts", run)


@dataclass
class Tally:
    """What has happened in all rounds."""

    faults: int = 0
    rounds: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)  # inside which a fault came
    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    compared: int = 0


@dataclass
class Round:
    """One store, and what is known of it."""

    case: Case
    folder: Path
    tally: Tally
    finished: set[str] = field(default_factory=set)
    marks: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    sound: bool = True

    @property
    def outputs(self) -> Path:
        """Where the command writes to."""
        return self.folder / "outputs"

    def start(self, blow: Blow | None = None, largest: int | None = None) -> Attempt:
        """Another attempt."""
        self.attempts += 1
        self.outputs.mkdir(parents=True, exist_ok=True)
        run = self.outputs / f"run_{self.attempts}"
        log = self.folder / f"attempt_{self.attempts}.log"
        arguments = [*self.case.arguments, f"hydra.run.dir={run}"]
        return Attempt(self.case.command, arguments, self.outputs, log, blow, largest)

    def note(self, *attempts: Ended) -> None:
        """Count what was lost: what was begun though it had been finished, and work that had come further before."""
        for line, certain in sorted(
            ((line, line is not ended.said[-1] or not ended.struck) for ended in attempts for line in ended.said),
            key=lambda item: item[0]["time"],
        ):
            if line["what"] == "begin" and line["name"] in self.finished:
                self.lose(f"{line['name']} was finished and was built again")
            elif line["what"] == "finish" and certain:
                self.finished.add(line["name"])
            elif line["what"] == "mark":
                before = self.marks.get(line["name"], 0)
                if line["done"] <= before:
                    self.lose(f"{line['name']} had come to {before} and then to {line['done']}")
                if certain:
                    self.marks[line["name"]] = line["done"]
        self.finished = set(artifacts(self.outputs / "artifacts"))
        for ended in attempts:
            if ended.struck and ended.status:
                self.tally.faults += 1
                self.tally.stages[(ended.inside or "between stages").split("/")[0]] += 1

    def lose(self, loss: str) -> None:
        """Something was computed again."""
        self.sound = False
        self.tally.losses.append(f"{self.case.name}: {loss} ({self.folder})")

    def complain(self, problem: str) -> None:
        """Something else is wrong."""
        self.sound = False
        self.tally.wrong.append(f"{self.case.name}: {problem} ({self.folder})")

    def finish(self) -> None:
        """A last attempt, undisturbed, and the comparison."""
        self.tally.rounds += 1
        ended = self.start().wait()
        self.note(ended)
        if ended.status:
            self.complain(f"attempt {self.attempts} ends with status {ended.status}")
            return
        store, run = self.outputs / "artifacts", self.outputs / f"run_{self.attempts}"
        found, expected = contents(store), self.case.contents
        self.tally.compared += len(artifacts(store))
        for name in differences(expected, found) + differences(self.case.results, results(run)):
            self.complain(f"{name} is another one")
        for name in sorted(self.case.used - used(store, run)):
            self.complain(f"{name} was used, and nothing says it")
        for name in leftovers(store):
            self.complain(f"{name} is left over")

    def clear(self) -> None:
        """Delete everything, unless it shows what went wrong."""
        if self.sound:
            shutil.rmtree(self.folder)

    def choose(self, rng: np.random.Generator, number: int, alone: bool) -> tuple[str, Blow]:
        """The kind of the next moment, and the moment: inside what is not finished, of the stage that was hit least.
        One that never was is hit for certain, however short it is."""
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        missing = [built for built in self.case.built if built.name not in self.finished]
        if kind == "anywhere" or not missing:
            return "anywhere", Blow(None, None, float(rng.uniform(0, self.case.seconds)), number, alone)
        hits = {built.stage: self.tally.stages[built.stage] for built in missing}
        stage = rng.choice([stage for stage, count in hits.items() if count == min(hits.values())])
        of_stage = [built for built in missing if built.stage == stage]
        built = of_stage[rng.integers(len(of_stage))]
        if kind == "operation" or not hits[stage]:
            return "operation", Blow(built.name, int(rng.integers(1, built.operations + 1)), 0.0, number, alone)
        return kind, Blow(built.name, None, float(rng.uniform(0, built.seconds)), number, alone)


def disturb(
    case: Case, folder: Path, tally: Tally, rng: np.random.Generator, most: int, signals: Sequence[int], alone: bool
) -> None:
    """A round with up to ``most`` of those signals."""
    current = Round(case, folder, tally)
    for _ in range(min(most, int(rng.integers(1, MOST_FAULTS + 1)))):
        number = signals[tally.faults % len(signals)]
        by_itself = alone or (number != signal.SIGKILL and bool(rng.integers(2)))
        kind, blow = current.choose(rng, number, by_itself)
        ended = current.start(blow).wait()
        current.note(ended)
        if ended.struck and ended.status:
            tally.kinds[f"{signal.Signals(number).name} {kind}"] += 1
        if (problem := judge(ended, blow)) is not None:
            current.complain(f"attempt {current.attempts} {problem}")
        if ended.status == 0:
            break
    current.finish()
    current.clear()


def unseal(case: Case, folder: Path, tally: Tally, rng: np.random.Generator, most: int) -> None:
    """A round in which one artifact of every stage is killed when all of it is written but its provenance, so that each
    is built again where a whole one lies."""
    current = Round(case, folder, tally)
    firsts = {built.stage: built.name for built in reversed(case.built)}  # a later one may be there by then
    for name in sorted(firsts.values(), key=[built.name for built in case.built].index):
        blow = Blow(name, None, 0.0, unsealed=True)
        ended = current.start(blow).wait()
        current.note(ended)
        if not ended.struck:
            current.complain(f"attempt {current.attempts} was not struck before {name} was sealed")
        elif (problem := judge(ended, blow)) is not None:
            current.complain(f"attempt {current.attempts} {problem}")
        else:
            tally.kinds["SIGKILL unsealed"] += 1
    current.finish()
    current.clear()


def judge(ended: Ended, blow: Blow) -> str | None:
    """What is wrong with the end of an attempt; None: nothing."""
    if ended.status in (0, -signal.SIGKILL if blow.number == signal.SIGKILL else 0):
        return None
    if ended.struck and ended.status == 128 + blow.number:
        name = signal.Signals(blow.number).name
        said = ended.log.rstrip().rpartition("\n")[2]
        return None if said == f"Interrupted by {name}: run the same command again to resume." else f"says {said!r}"
    if ended.struck and ended.status == -blow.number and not ended.said:
        return None  # it came before the command listened
    return f"ends with status {ended.status}"


def race(case: Case, folder: Path, tally: Tally, rng: np.random.Generator, most: int) -> None:
    """A round in which two of the same command are started at once; one of them is killed, and repeated at once."""
    current = Round(case, folder, tally)
    kind, blow = current.choose(rng, signal.SIGKILL, alone=False)
    killed, other = current.start(blow), current.start()
    first = killed.wait()
    ended = [first, *([current.start().wait()] if first.status else []), other.wait()]
    current.note(*ended)
    if first.struck and first.status:
        tally.kinds[f"race {kind}"] += 1
    for which, one in enumerate(ended):
        if one.status not in (0, -signal.SIGKILL if one is first else 0):
            current.complain(f"one of {len(ended)} attempts at once, number {which}, ends with status {one.status}")
    current.finish()
    current.clear()


def describe(tally: Tally, seed: int, expected: Sequence[str]) -> list[str]:
    """What is printed at the end; ``expected``: the stages inside which a fault must have come."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in tally.kinds.most_common())
    hit = ", ".join(f"{stage} {count}" for stage, count in sorted(tally.stages.items()))
    missed = [stage for stage in expected if not tally.stages[stage]]
    lines = [
        f"Faults: {tally.faults} ({kinds}) in {tally.rounds} rounds, seed {seed}.",
        f"Inside: {hit}.",
        *([f"Never inside: {', '.join(missed)}."] if missed else []),
        f"Lost: {len(tally.losses)} finished artifacts or parts of them.",
        *(f"  {loss}" for loss in tally.losses),
        f"Compared: {tally.compared} artifacts with those of undisturbed runs; wrong: {len(tally.wrong)}.",
        *(f"  {problem}" for problem in tally.wrong),
    ]
    return lines


def save_weights(arguments: list[str], folder: Path) -> Path:
    """A file of weights that a run with those arguments has trained."""
    trained = Case("weights", [*arguments, "method=random"], folder)
    trained.run_undisturbed()
    summary = json.loads((folder / "undisturbed" / "run" / "summary.json").read_text())
    weights = folder / "weights.safetensors"
    shutil.copy(folder / "undisturbed" / "artifacts" / summary["artifacts"]["model"] / "ema.safetensors", weights)
    return weights
