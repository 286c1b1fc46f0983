"""Files: what identifies one, and writing one in a single step."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def digest_once(path: Path) -> str:
    """``digest``, remembered for as long as the file's size and time of change stay the same."""
    facts = path.stat()
    return remember_digest(path, facts.st_size, facts.st_mtime_ns)


@lru_cache
def remember_digest(path: Path, size: int, changed: int) -> str:
    """The digest of a file of that size and time of change."""
    return digest(path)


def write_json(path: Path, content: object) -> None:
    """Written aside and moved into place."""
    path.with_suffix(".new").write_text(json.dumps(content, indent=2))
    path.with_suffix(".new").replace(path)
