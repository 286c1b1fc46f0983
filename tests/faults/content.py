"""What a store and a run hold, but for what differs between any two runs: seconds, and when and where they were run."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tdattr.integrity import PROVENANCE, check_files
from tdattr.inventory.artifacts import read_inventory
from tdattr.inventory.uses import reach

OWN = ("seconds", "finished", "revision", "sha256", "device")  # in a provenance
OWN += ("files",)  # which are compared themselves
OWN += ("uses",)  # which of several blocks, or of those that ask for it in turn, names something: see ``used``
HALF_WRITTEN = ("*.new", ".tmp*")  # written out, so that the code under test does not say what it leaves
LOCKS = (".lock", ".lease")  # what may be left beside artifacts


def artifacts(store: Path) -> dict[str, Path]:
    """The folders of all finished artifacts, by name."""
    folders = (path for path in store.glob("*/*") if not path.name.startswith("."))
    return {f"{path.parent.name}/{path.name}": path for path in sorted(folders)}


def contents(store: Path) -> dict[str, Any]:
    """What every file of every artifact says. Raises UserError for a damaged one."""
    found: dict[str, Any] = {}
    for name, folder in artifacts(store).items():
        check_files(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found[f"{name}/{path.relative_to(folder)}"] = read(path)
    return found


def results(run: Path) -> dict[str, Any]:
    """The files of a run that hold what it found."""
    return {name: read(run / name) for name in ("summary.json", "attributions.csv") if (run / name).exists()}


def used(store: Path, run: Path) -> set[str]:
    """All artifacts that a run has used, as ``tdattr-artifacts`` finds them: whichever attempt asked for them; none for
    a command that leaves no summary."""
    if not (run / "summary.json").exists():
        return set()
    named = json.loads((run / "summary.json").read_text())["artifacts"].values()
    return reach(read_inventory(store), named)


def leftovers(store: Path) -> list[str]:
    """What is in a store besides finished artifacts and the files of locks."""
    return [str(path.relative_to(store)) for path in store.glob("*/.*") if not path.name.endswith(LOCKS)] + [
        str(path.relative_to(store)) for pattern in HALF_WRITTEN for path in store.glob(f"*/*/**/{pattern}")
    ]


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """The names of files that only one of two has, or that say different things."""
    names = sorted(expected.keys() | actual.keys())
    return [name for name in names if name not in expected or name not in actual or expected[name] != actual[name]]


def read(path: Path) -> Any:
    """All that a file says, byte by byte but for times."""
    if path.name == PROVENANCE:
        content = json.loads(path.read_bytes())
        return untimed({key: value for key, value in content.items() if key not in OWN})
    if path.suffix == ".json":
        return untimed(json.loads(path.read_bytes()))
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        kept = [column for column, title in enumerate(rows[0]) if "seconds" not in title] if rows else []
        return [[row[column] for column in kept] for row in rows]
    if path.suffix == ".safetensors":
        return dict(read_tensors(path))
    return path.read_bytes()


def read_tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """The bytes, shape and type of every tensor, and the file's remarks, which may be JSON."""
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(key).contiguous()
            yield key, (tensor.shape, str(tensor.dtype), tensor.flatten().view(-1).numpy().tobytes())
        for key, value in (file.metadata() or {}).items():
            try:
                yield f"remark {key}", untimed(json.loads(value))
            except ValueError:
                yield f"remark {key}", value


def untimed(node: Any) -> Any:
    """Nested dictionaries and lists without what is named after seconds."""
    if isinstance(node, dict):
        return {key: untimed(value) for key, value in node.items() if "seconds" not in key}
    return [untimed(value) for value in node] if isinstance(node, list) else node
