"""Which processes are building what, by their leases."""

from pathlib import Path

from tdattr.locks import find_owner, find_start, read


def holders(folder: Path, stage: str) -> set[int]:
    """The processes that are building an artifact of a stage."""
    leases = folder.glob(f"outputs/artifacts/{stage}/.*.lease")
    names = [find_owner(read(path) or "") for path in leases]
    return {int(name.split("-")[1]) for name in names if name}


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    return find_start(process) != ""
