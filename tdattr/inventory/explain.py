"""``tdattr-artifacts explain A B``: the values and inputs in which two results differ, and why those differ."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tdattr.errors import UserError
from tdattr.experiments import HOW
from tdattr.inventory.artifacts import Inventory, Stored
from tdattr.inventory.runs import CONFIG, RunFolder, find_runs
from tdattr.inventory.uses import REFERENCE
from tdattr.inventory.words import count, describe, printable

DIGEST = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")
PLURALS = {  # of the roles of inputs
    "model": "models",
    "dataset": "datasets",
    "latents": "latents",
    "queries": "queries",
    "of": "networks",
    "scores": "scores",
    "reference": "reference scores",
    "gold": "gold standards",
    "evaluation": "verdicts",
    "regenerated": "regenerated images",
    "regenerated_random": "images regenerated for the reference",
}
ABSENT = "nothing"  # what a value that is not there is called
ADDRESS = 16  # letters
MOST_LETTERS = 80  # of a value
MOST_NAMED = 5  # of the names that a prefix may stand for
Thing = Stored | RunFolder


def explain(inventory: Inventory, runs: list[RunFolder], first: str, second: str) -> None:
    """Print in what two artifacts, or two runs, differ. Raises UserError where a name stands for neither."""
    one, other = find(inventory, runs, first), find(inventory, runs, second)
    if isinstance(one, RunFolder) and isinstance(other, RunFolder):
        lines = explain_runs(inventory, one, other)
    elif isinstance(one, Stored) and isinstance(other, Stored):
        lines = explain_artifacts(inventory, one, other)
    else:
        raise UserError(f"{first} and {second} are an artifact and a run: name two artifacts or two runs.")
    for line in lines:
        print(printable(line))


def find(inventory: Inventory, runs: list[RunFolder], text: str) -> Thing:
    """The artifact or run that a name, the beginning of one, or a folder stands for."""
    path = Path(text).expanduser().resolve()
    if path.is_dir():
        things: list[Thing] = [*inventory.artifacts.values(), *runs, *find_runs([path])]
        for thing in things:
            if thing.folder is not None and thing.folder.resolve() == path:
                return thing
    everything = inventory.artifacts | {artifact.name: artifact for artifact in inventory.by_address.values()}
    matching: dict[str, Thing] = {
        name: artifact
        for name, artifact in everything.items()
        if name.startswith(text) or artifact.address.startswith(text)
    }
    matching |= {run.name: run for run in runs if run.name.startswith(text.rstrip("/"))}
    exact = matching.get(text.rstrip("/")) or (next(iter(matching.values())) if len(matching) == 1 else None)
    if exact is not None:
        return exact
    if not matching:
        raise UserError(
            f"No artifact and no run is called {printable(text)}: tdattr-artifacts list names the artifacts."
        )
    named = ", ".join(sorted(matching)[:MOST_NAMED]) + (", …" if len(matching) > MOST_NAMED else "")
    raise UserError(f"{printable(text)} may be {printable(named)}: say more of the name.")


def explain_runs(inventory: Inventory, one: RunFolder, other: RunFolder) -> Iterator[str]:
    """In what two runs differ: the values of their configs, then the artifacts of which both have one."""
    names = f"{one.name} and {other.name}"
    differences = list(compare(read_settings(one), read_settings(other)))
    if differences:
        yield f"The configurations of {names} differ:"
        yield from (f"  {line}" for line in differences)
    else:
        yield f"The configurations of {names} are the same."
    for run in (one, other):
        if not run.artifacts:
            yield f"{run.name} has no results: {run.fault or 'it is not finished'}."
    explanation = Explanation(inventory)
    shared = [role for role in one.artifacts if role in other.artifacts]
    for role in shared:
        if one.artifacts[role] == other.artifacts[role]:
            yield f"They have the same {role} ({one.artifacts[role]})."
    for role in shared:
        first, second = (run.artifacts[role].split("/")[1] for run in (one, other))
        if first != second:
            yield from explanation.of_input(role, first, second, "", owner="Their")
    for run, without in ((one, other), (other, one)) if shared else ():
        if only := [role for role in run.artifacts if role not in without.artifacts]:
            yield f"Only {run.name} has {', '.join(only)}."


def read_settings(run: RunFolder) -> dict[str, Any]:
    """A run's composed config. Raises UserError where it cannot be read."""
    try:
        config = yaml.safe_load((run.folder / CONFIG).read_text())
        return {name: value for name, value in config.items() if name not in HOW}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"The {CONFIG} of {printable(run.name)} cannot be read: compare its artifacts.") from error


def explain_artifacts(inventory: Inventory, one: Stored, other: Stored) -> Iterator[str]:
    """In what two artifacts differ. Raises UserError for those of different stages."""
    for artifact in (one, other):
        if artifact.damage is not None:
            raise UserError(f"{artifact.name} cannot be compared: {artifact.damage}. See tdattr-artifacts verify.")
        yield f"{artifact.name}: {describe(artifact.stage, artifact.config, artifact.inputs)}"
    if one.name == other.name:
        yield "They are the same artifact."
        return
    if one.stage != other.stage:
        raise UserError(f"{one.name} and {other.name} are of different kinds: name two artifacts of one stage.")
    lines = list(Explanation(inventory).of_pair(one, other, ""))
    yield "They differ:" if lines else "Nothing differs in what they were made from: their provenance was changed."
    yield from lines


@dataclass
class Explanation:
    """What was said so far: each pair is explained where it first occurs."""

    inventory: Inventory
    said: set[tuple[str, str]] = field(default_factory=set)

    def of_pair(self, one: Stored, other: Stored, indent: str) -> Iterator[str]:
        """In what two artifacts of a stage differ, with the reasons of their inputs indented below them."""
        indent += "  "
        versions = one.provenance.get("version"), other.provenance.get("version")
        if versions[0] != versions[1]:
            yield f"{indent}the code of the stage: version {versions[0]} against {versions[1]}"
        references = [key for key in one.config if all(map(self.is_stored, (one.config[key], other.config.get(key))))]
        yield from (f"{indent}{line}" for line in compare(one.config, other.config, untold=references))
        pairs = [(key, one.config[key][:ADDRESS], other.config[key][:ADDRESS]) for key in references]
        pairs += [(role, str(one.inputs.get(role, "")), str(other.inputs.get(role, ""))) for role in one.inputs]
        pairs += [(role, "", str(address)) for role, address in other.inputs.items() if role not in one.inputs]
        for role, first, second in pairs:
            if first != second:
                yield from self.of_input(role, first, second, indent)

    def is_stored(self, value: object) -> bool:
        """Whether a value of a config is an artifact, or a part of one."""
        match = REFERENCE.match(value) if isinstance(value, str) else None
        return match is not None and match[1] in self.inventory.by_address

    def of_input(self, role: str, first: str, second: str, indent: str, owner: str = "their") -> Iterator[str]:
        """Why an input of two artifacts is not the same."""
        if not all(DIGEST.fullmatch(text) for text in (first, second) if text):  # the version of a package
            yield f"{indent}{role}: {first or ABSENT} against {second or ABSENT}"
            return
        what = f"{owner} {PLURALS.get(role, f'inputs {role}')}"
        one, other = (self.inventory.by_address.get(text) for text in (first, second))
        names = " against ".join(
            text if artifact is None else artifact.name
            for text, artifact in ((first or ABSENT, one), (second or ABSENT, other))
        )
        if one is None or other is None or one.stage != other.stage:
            unknown = "" if not (first and second) or (one and other) else ", of which not both are stored"
            yield f"{indent}{what} differ: {names}{unknown}"
        elif (one.name, other.name) in self.said:
            yield f"{indent}{what} differ, as said above: {names}"
        else:
            self.said.add((one.name, other.name))
            yield f"{indent}{what} differ: {names}"
            yield from self.of_pair(one, other, indent)


def compare(
    one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "", untold: Collection[str] = ()
) -> Iterator[str]:
    """The settings that differ, as ``train.steps: 3000 against 1500``; a component that is another one, by its name."""
    for key in dict.fromkeys([*one, *other]):
        values = one.get(key, ABSENT), other.get(key, ABSENT)
        if values[0] == values[1] or key in untold:
            continue
        if isinstance(values[0], Mapping) and isinstance(values[1], Mapping) and len({*map(name_class, values)}) == 1:
            yield from compare(*values, prefix=f"{prefix}{key}.")
        elif all(isinstance(value, str) and DIGEST.fullmatch(value) for value in values):
            yield f"{prefix}{key}: another content ({show(values[0])} against {show(values[1])})"
        else:
            yield f"{prefix}{key}: {show(values[0])} against {show(values[1])}"


def name_class(settings: Mapping[str, Any]) -> str | None:
    """The class of a component, without the package and the version of its code; None for plain settings."""
    path = settings.get("class") or settings.get("_target_")
    return None if path is None else str(path).split(" ")[0].rpartition(".")[2]


def show(value: Any) -> str:
    """A value of a config; a component by its class, a digest by its first letters."""
    if isinstance(value, Mapping):
        return name_class(value) or count(len(value), "setting")
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return f"{value[:8]}…"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
