"""Whether the files of an artifact are still what was written: sizes and digests, in its provenance."""

import errno
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdattr.errors import UserError
from tdattr.files import digest_once, only_finite, sync, to_json

PROVENANCE = "provenance.json"
FILES = "files"  # in it: size and digest of every other file; artifacts of older versions have none
SEAL = "sha256"  # in it: the digest of everything else in it


def seal(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the provenance of what a folder holds: ``content``, size and digest of every file, and its own digest. All
    of it is on the disk when this returns."""
    paths = [path for path in sorted(folder.rglob("*")) if path != folder / PROVENANCE]
    for path in paths:
        sync(path)
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest_once(path)}
        for path in paths
        if path.is_file()
    }
    full = only_finite(dict(content) | {FILES: files})
    (folder / PROVENANCE).write_text(to_json(full | {SEAL: digest_content(full)}))
    sync(folder / PROVENANCE)
    sync(folder)


def digest_content(content: Mapping[str, Any]) -> str:
    """A digest that survives writing and reading."""
    plain = json.loads(json.dumps(content))  # numbers that are keys become text, and sort as such
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_provenance(folder: Path) -> dict[str, Any]:
    """What ``seal`` wrote. Raises UserError where it is damaged."""
    try:
        content = json.loads((folder / PROVENANCE).read_bytes())
        sealed = {SEAL, FILES} & content.keys()
        intact = not sealed or content.pop(SEAL, None) == digest_content(content)
    except FileNotFoundError:
        raise damaged(folder, f"{PROVENANCE} is missing") from None
    except (ValueError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise damaged(folder, f"{PROVENANCE} is not what was written")
    return content


def check_files(folder: Path) -> None:
    """Raise UserError where a file of an artifact is missing or not what was written. Sizes are compared each time,
    contents once a process."""
    for name, written in read_provenance(folder).get(FILES, {}).items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                raise damaged(folder, f"{name} has {size} bytes instead of {written['bytes']}")
            if digest_once(path) != written["sha256"]:
                raise damaged(folder, f"{name} is not what was written")
        except FileNotFoundError:
            raise damaged(folder, f"{name} is missing") from None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise damaged(folder, f"{name} cannot be read from the disk") from error


def damaged(folder: Path, reason: str) -> UserError:
    """What to say of an artifact that cannot be used any more."""
    name = "/".join(folder.parts[-2:])
    return UserError(
        f"The artifact {name} is damaged ({reason}): `rm -r {shlex.quote(str(folder))}`, and the tdattr command that "
        "uses it builds it again."
    )
