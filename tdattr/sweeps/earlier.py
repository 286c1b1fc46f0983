"""What a sweep need not run, as an earlier run has done it: how that is found, and ``earlier.json`` in its folder."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tdattr.files import write_json
from tdattr.run_status import DONE, STATUS, read_status

EARLIER = "earlier.json"
SUMMARY = "summary.json"
VERDICT = "evaluation"  # the artifact by which a run is whole: it holds what a summary says, whatever else was pruned


@dataclass(frozen=True)
class Earlier:
    """A job that was not started, and the folder of the finished run that is the same."""

    overrides: list[str]
    folder: str


def write_earlier(folder: Path, jobs: Sequence[Earlier]) -> None:
    """Write them down in a sweep's folder, after those of its earlier batches."""
    write_json(folder / EARLIER, [asdict(job) for job in [*read_earlier(folder), *jobs]])


def read_earlier(folder: Path) -> list[Earlier]:
    """Those of a sweep; none where there is no such file."""
    try:
        content = json.loads((folder / EARLIER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Earlier(**job) for job in content]


def find_finished(runs: Path, artifacts: Path, identities: Collection[str], without: Path) -> dict[str, Path]:
    """The newest finished run of each of those identities below a folder of runs, of those whose verdict is still
    stored below ``artifacts``; runs in the folder ``without`` do not count."""
    paths = [path for pattern in (f"*/{STATUS}", f"*/*/{STATUS}") for path in runs.glob(pattern)]
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        status = read_status(path.parent) or {}
        if status.get("state") == DONE and status.get("identity") in identities:
            folder = path.parent.absolute()
            if not folder.is_relative_to(without) and is_whole(folder, artifacts):
                found[status["identity"]] = folder
    return found


def is_whole(folder: Path, artifacts: Path) -> bool:
    """Whether a run has a summary, whose verdict is stored."""
    try:
        name = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["artifacts"][VERDICT]
        return (artifacts / name).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return False
