"""``tdattr-artifacts verify``: is every file still what was written, and what builds again what is not?"""

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from tdattr.integrity import FILES, Damaged, list_damage
from tdattr.inventory.artifacts import Inventory, Stored
from tdattr.inventory.runs import RunFolder
from tdattr.inventory.uses import Uses
from tdattr.inventory.words import count, printable, show_bytes
from tdattr.progress import Bar

KEY = ("stage", "version", "config", "inputs")  # of a provenance: what the address is made of


def verify(inventory: Inventory, runs: list[RunFolder], uses: Uses, stages: list[str]) -> int:
    """Read every file of the artifacts (of some stages), and print what is damaged or missing, and what rebuilds it.
    The status of the command: 1 where something is."""
    artifacts = [artifact for artifact in inventory.artifacts.values() if not stages or artifact.stage in stages]
    bar = Bar("Checking artifacts", len(artifacts), nested=True)
    wrong = 0
    for artifact in artifacts:
        reasons = list(find_damage(artifact))
        bar.advance()
        if reasons:
            wrong += 1
            print(f"{printable(artifact.name)} is damaged: {printable('; '.join(reasons))}.")
            print(f"  {advise(artifact, uses.by(artifact.name))}")
    bar.close()
    missing = [] if stages else list(find_missing(inventory, runs))
    for name, run in missing:
        command = run.command()
        print(f"{name} is missing: {printable(run.name)} shows it. {rebuild(run) if command else 'Run it again.'}")
    for run in runs:
        if run.fault is not None:
            print(f"{printable(run.name)}: {run.fault}, so what the run uses is not known.")
    plain = sum(artifact.damage is None and FILES not in artifact.provenance for artifact in artifacts)
    if plain:
        print(f"{count(plain, 'artifact')} without checksums, of an older version: only the provenance was read.")
    size = show_bytes(sum(artifact.bytes for artifact in artifacts))
    print(f"{count(len(artifacts), 'artifact')} ({size}): {wrong or 'none'} damaged, {len(missing) or 'none'} missing.")
    return 1 if wrong or missing else 0


def find_damage(artifact: Stored) -> Iterator[str]:
    """What is wrong with an artifact."""
    if artifact.damage is not None or artifact.folder is None:
        yield artifact.damage or "it was pruned"
        return
    try:
        yield from list_damage(artifact.folder)
    except Damaged as error:  # since it was read
        yield error.reason
    except OSError as error:
        yield f"it cannot be read: {error.strerror}"
    except (KeyError, TypeError):
        yield "the sizes and digests in its provenance cannot be read"
    if FILES not in artifact.provenance:  # of an older version, which may have made addresses in another way
        return
    key = {name: artifact.provenance.get(name) for name in KEY}
    if hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16] != artifact.address:
        yield "its name is not that of what it holds"


def find_missing(inventory: Inventory, runs: list[RunFolder]) -> Iterator[tuple[str, RunFolder]]:
    """The artifacts that finished runs show and that are not stored."""
    told = set()
    for run in runs:
        for name in run.shown:
            if name not in inventory.artifacts and name not in told:
                told.add(name)
                yield name, run


def advise(artifact: Stored, runs: list[RunFolder]) -> str:
    """What to do about a damaged artifact."""
    assert artifact.folder is not None
    remove = f"rm -r {quote(artifact.folder)}"
    run = next((run for run in runs if run.command() is not None), None)
    if run is None:
        return f"No run is known to use it: {remove}; whatever asks for it builds it again."
    return f"{remove}; it is built again when it is needed. {rebuild(run)}"


def rebuild(run: RunFolder) -> str:
    """The command of a run that builds again what it uses."""
    return f"The command of {printable(run.name)}: {run.command()}"


def quote(path: Path) -> str:
    """A path as a shell takes it."""
    return printable(shlex.quote(str(path)))
