"""Whether the files of an artifact are still what was written: sizes and digests, in its provenance."""

import errno
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.files import digest_once, only_finite, sync, sync_all, to_json
from tdattr.interim import find_interim

PROVENANCE = "provenance.json"
FILES = "files"  # in it: size and digest of every other file; artifacts of older versions have none
SEAL = "sha256"  # in it: the digest of everything else in it


def seal(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the provenance of what a folder holds, but for what it was resumed from: ``content``, size and digest of
    every file, and its own digest. All of it is on the disk when this returns."""
    paths = sorted(set(folder.rglob("*")) - find_interim(folder) - {folder / PROVENANCE})
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest_once(path)}
        for path in paths
        if path.is_file()
    }
    full = json.loads(json.dumps(only_finite(dict(content) | {FILES: files})))  # numbers that are keys become text
    (folder / PROVENANCE).write_text(to_json(full | {SEAL: digest_content(full)}))
    sync_all([*paths, folder / PROVENANCE, folder])


def digest_content(content: Mapping[str, Any]) -> str:
    """A digest of what was read from JSON; it survives writing and reading."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_provenance(folder: Path) -> dict[str, Any]:
    """What ``seal`` wrote. Raises Damaged where it is not that any more."""
    try:
        content = json.loads((folder / PROVENANCE).read_bytes())
        sealed = {SEAL, FILES} & content.keys()
        intact = not sealed or content.pop(SEAL, None) == digest_content(content)
    except FileNotFoundError:
        raise Damaged(folder, f"{PROVENANCE} is missing") from None
    except (ValueError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise Damaged(folder, f"{PROVENANCE} is not what was written")
    return content


def check_files(folder: Path) -> None:
    """Raise Damaged where a file of an artifact is missing or not what was written. Sizes are compared each time,
    contents once a process."""
    for reason in list_damage(folder):
        raise Damaged(folder, reason)


def list_damage(folder: Path) -> Iterator[str]:
    """What is wrong with each file of an artifact that is missing or not what was written. Raises Damaged where the
    provenance is."""
    for name, written in read_provenance(folder).get(FILES, {}).items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                yield f"{name} has {size} bytes instead of {written['bytes']}"
            elif digest_once(path) != written["sha256"]:
                yield f"{name} is not what was written"
        except FileNotFoundError:
            yield f"{name} is missing"
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            yield f"{name} cannot be read from the disk"


def is_sealed(folder: Path) -> bool:
    """Whether an interrupted attempt has sealed a folder, so that nothing is left to build. It is on the disk then."""
    try:
        check_files(folder)
        if FILES not in read_provenance(folder):
            return False
    except UserError:
        return False
    for path in (*folder.rglob("*"), folder):  # it may have been interrupted before
        sync(path)
    return True


class Damaged(UserError):
    """An artifact that cannot be used any more; ``reason`` says what is wrong with it."""

    def __init__(self, folder: Path, reason: str) -> None:
        name = "/".join(folder.parts[-2:])
        super().__init__(
            f"The artifact {name} is damaged ({reason}): `rm -r {shlex.quote(str(folder))}`, and the tdattr command "
            "that uses it builds it again."
        )
        self.reason = reason
