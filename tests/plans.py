"""Plans of small artifacts, for tests of the store."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tdattr.store import Artifact, Plan, Store

BASE: dict[str, Any] = {"stage": "train", "version": 1, "config": {"steps": 5}, "inputs": {"dataset": "abc"}}


def write(folder: Path) -> dict[str, Any]:
    (folder / "result.txt").write_text("done")
    return {"loss": 0.5}


def refuse(folder: Path) -> None:
    raise AssertionError("must not be built again")


def plan(root: Path | Store, build: Callable[..., Any] = write, **changes: Any) -> Plan:
    where = root if isinstance(root, Store) else Store(root, "cpu")
    return where.plan(**(BASE | changes), build=build)


def get(root: Path | Store, build: Callable[..., Any] = write, **changes: Any) -> Artifact:
    return plan(root, build, **changes).get()


def plans(root: Path | Store, build: Callable[..., Any], count: int) -> list[Plan]:
    return [plan(root, partial(build, number), config={"number": number}) for number in range(count)]
