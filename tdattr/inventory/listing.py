"""``tdattr-artifacts list`` and ``du``: tables of what is stored, and of what takes the space."""

import csv
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from tabulate import tabulate

from tdattr.errors import UserError
from tdattr.inventory.artifacts import Inventory, Stored
from tdattr.inventory.prune import TRAININGS, Wanted, choose
from tdattr.inventory.runs import RunFolder
from tdattr.inventory.uses import Uses
from tdattr.inventory.words import KINDS, count, describe, printable, show_age, show_bytes, show_work

ORDERS: dict[str, Callable[[Stored], Any]] = {
    "age": lambda artifact: -artifact.made,
    "size": lambda artifact: -artifact.bytes,
    "name": lambda artifact: artifact.name,
}
MOST_RUNS = 12  # that a table of `du` has


def select(
    inventory: Inventory, uses: Uses, stages: Sequence[str], run: RunFolder | None, unused: bool
) -> list[Stored]:
    """The artifacts of those stages, which the run uses, or which no run uses. Raises UserError for a stage that is not
    there."""
    there = {artifact.stage for artifact in inventory.artifacts.values()}
    for stage in stages:
        if stage not in there | KINDS.keys():
            raise UserError(f"There is no stage {printable(stage)}: choose from {printable(', '.join(sorted(there)))}.")
    chosen = [artifact for artifact in inventory.artifacts.values() if not stages or artifact.stage in stages]
    if run is not None:
        chosen = [artifact for artifact in chosen if run in uses.by(artifact.name)]
    return [artifact for artifact in chosen if not unused or not uses.by(artifact.name)]


def show_list(artifacts: list[Stored], uses: Uses, order: str, form: str) -> None:
    """Print the artifacts as a table for people, as CSV or as JSON."""
    artifacts = sorted(artifacts, key=ORDERS[order])
    if form == "table":
        now = time.time()
        rows = [
            [
                printable(artifact.name),
                "damaged" if artifact.damage else describe(artifact.stage, artifact.config, artifact.inputs),
                show_bytes(artifact.bytes),
                show_age(now - artifact.made),
                name_runs(uses.by(artifact.name)),
            ]
            for artifact in artifacts
        ]
        print_table(rows, ["artifact", "what", "size", "age", "used by"], "llrrl", widened=1)
        print(summarise(artifacts, uses))
        return
    records = [as_record(artifact, uses) for artifact in artifacts]
    if form == "json":
        print(json.dumps(records, indent=2))
    else:
        writer = csv.DictWriter(sys.stdout, ["artifact", "what", "bytes", "made", "asked", "seconds", "runs", "damage"])
        writer.writeheader()
        writer.writerows(record | {"runs": "; ".join(record["runs"])} for record in records)


def as_record(artifact: Stored, uses: Uses) -> dict[str, Any]:
    """What is known of an artifact, for programs."""
    return {
        "artifact": printable(artifact.name),
        "what": describe(artifact.stage, artifact.config, artifact.inputs),
        "bytes": artifact.bytes,
        "made": as_time(artifact.made),
        "asked": as_time(artifact.asked),
        "seconds": artifact.seconds,
        "runs": [printable(run.name) for run in uses.by(artifact.name)],
        "damage": None if artifact.damage is None else printable(artifact.damage),
    }


def as_time(seconds: float) -> str:
    """A moment as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def name_runs(runs: list[RunFolder]) -> str:
    """``2026-11-25_23-19-50_240261 and 3 more``."""
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{printable(runs[0].name)}{more}" if runs else "no run"


def summarise(artifacts: list[Stored], uses: Uses) -> str:
    """One sentence on all that was listed."""
    unused = sum(not uses.by(artifact.name) for artifact in artifacts)
    damaged = sum(artifact.damage is not None for artifact in artifacts)
    size = show_bytes(sum(artifact.bytes for artifact in artifacts))
    parts = [f"{count(len(artifacts), 'artifact')}, {size}", f"{unused or 'none'} of them used by no run"]
    parts += [f"{damaged} damaged (tdattr-artifacts verify)"] if damaged else []
    guessed = sum(artifact.name in uses.guessed for artifact in artifacts)
    if guessed:
        parts.append(f"{guessed} of an older version, which count as used by every run that may have used them")
    return "; ".join(parts) + "."


def print_table(rows: list[list[str]], headers: list[str], align: str, widened: int = 0) -> None:
    """A table as wide as the terminal, for which the column ``widened`` is cut; not cut where it goes to a file."""
    if sys.stdout.isatty() and rows:
        others = [max(len(row[index]) for row in [*rows, headers]) for index in range(len(headers)) if index != widened]
        room = max(len(headers[widened]) + 10, shutil.get_terminal_size().columns - sum(others) - 2 * len(others))
        rows = [[shorten(cell, room) if index == widened else cell for index, cell in enumerate(row)] for row in rows]
    sides = [{"l": "left", "r": "right"}[side] for side in align]
    print(tabulate(rows, headers, "plain", colalign=sides if rows else None, disable_numparse=True))


def shorten(text: str, room: int) -> str:
    """The beginning of a text that is longer than its column."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def show_usage(inventory: Inventory, runs: list[RunFolder], uses: Uses) -> None:
    """Print what takes the space: by stage, by run, and what pruning would free."""
    artifacts = list(inventory.artifacts.values())
    stages = sorted({artifact.stage for artifact in artifacts}, key=lambda stage: -total(artifacts, stage))
    rows = [
        [printable(stage), str(len(of_stage)), show_bytes(sum(each.bytes for each in of_stage)), work(of_stage)]
        for stage in stages
        for of_stage in [[artifact for artifact in artifacts if artifact.stage == stage]]
    ]
    rows.append(["all", str(len(artifacts)), show_bytes(sum(each.bytes for each in artifacts)), work(artifacts)])
    print_table(rows, ["stage", "artifacts", "size", "computed in"], "lrrr")
    print()
    show_usage_by_run(artifacts, runs, uses)
    print()
    for name, wanted in (
        ("prune", Wanted()),
        ("prune --all", Wanted(everything=True)),
        ("prune --trainings", Wanted(stages=TRAININGS)),
        ("prune --intermediate", Wanted(intermediate=True)),
    ):
        choice = choose(inventory, runs, uses, wanted)
        kept = "".join(f"; kept: {many}, {reason}" for reason, many in choice.kept.items())
        size, number = show_bytes(choice.bytes), count(len(choice.all), "artifact")
        print(f"tdattr-artifacts {name} would free {size} ({number}){kept}.")


def show_usage_by_run(artifacts: list[Stored], runs: list[RunFolder], uses: Uses) -> None:
    """Print what each run uses, and what it alone uses; the largest first."""
    whole = dict.fromkeys((run.folder for run in runs), 0)
    alone = dict(whole)
    for artifact in artifacts:
        using = uses.by(artifact.name)
        for run in using:
            whole[run.folder] += artifact.bytes
            alone[run.folder] += artifact.bytes if len(using) == 1 else 0
    ordered = sorted(runs, key=lambda run: (-whole[run.folder], run.name))
    rows = [
        [printable(run.name), show_bytes(whole[run.folder]), show_bytes(alone[run.folder]), describe_state(run)]
        for run in ordered[:MOST_RUNS]
    ]
    print_table(rows, ["run", "uses", "alone", ""], "lrrl")
    if len(ordered) > MOST_RUNS:
        print(f"and {count(len(ordered) - MOST_RUNS, 'run')} more, which use less.")


def describe_state(run: RunFolder) -> str:
    """What is unusual about a run."""
    return "going" if run.going else run.fault or ("" if run.finished else "not finished")


def total(artifacts: list[Stored], stage: str) -> int:
    """The bytes of a stage."""
    return sum(artifact.bytes for artifact in artifacts if artifact.stage == stage)


def work(artifacts: list[Stored]) -> str:
    """How long artifacts took."""
    return show_work(sum(artifact.seconds for artifact in artifacts))
