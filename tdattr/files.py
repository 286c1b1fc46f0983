"""Files: what identifies one, writing one in a single step, JSON that every reader takes, and what is said where a
disk takes no more."""

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tdattr.errors import UserError

BLOCK = 1 << 20  # bytes read at a time
PAGE = 4096  # bytes: no file system hands out less at a time
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, no quota, or a limit on the size of files
NUMPY_FULL = ("Not enough free space", "requested and")  # what numpy says of a full disk, without a number
LONGEST_NAME = 120  # bytes; file systems take 255
OUTPUTS = "paths.outputs=…"  # by which a run chooses where everything goes
MOST_SYNCS = 16  # that wait for the disk at a time
CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)  # of folders, on some network file systems

known: dict[tuple[int, int, int, int], str] = {}  # digests of this process, see ``digest_once``


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def digest_once(path: Path) -> str:
    """``digest``, remembered for as long as the file's size and time of change stay the same, also if it is moved."""
    facts = path.stat()
    key = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
    if key not in known:
        known[key] = digest(path)
    return known[key]


def name_file(text: str) -> str:
    """A name for a file or folder made of any text: it holds no separator, and does not begin with a dot."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)[:LONGEST_NAME].lstrip(".") or "_"


def outputs_folder() -> Path:
    """Where everything goes unless a command says otherwise: TDATTR_OUTPUTS, or ``outputs``."""
    return expand(os.environ.get("TDATTR_OUTPUTS") or "outputs")


def write_text(path: Path, text: str) -> None:
    """Written aside and moved into place."""
    try:
        name_aside(path).write_text(text, encoding="utf-8")
    except OSError:
        name_aside(path).unlink(missing_ok=True)
        raise
    move_into_place(name_aside(path), path)


def write_json(path: Path, content: object) -> None:
    """Written aside and moved into place. Raises UserError where the disk is full."""
    with writing(path.parent):
        write_text(path, to_json(content))


def name_aside(path: Path) -> Path:
    """Where this process writes what is to take the place of ``path``: a process that is left over from an earlier
    attempt writes elsewhere."""
    return path.with_name(f"{path.name}.{os.getpid()}.new")


def move_into_place(aside: Path, path: Path) -> None:
    """Replace ``path`` in one step by a file that was written aside, once its content is on the disk."""
    sync(aside)
    os.replace(aside, path)


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def sync_all(paths: Sequence[Path]) -> None:
    """``sync`` for several files and folders at once: the disk, which takes most of the time, serves them together."""
    with ThreadPoolExecutor(min(len(paths), MOST_SYNCS)) as threads:
        list(threads.map(sync, paths))


def reserve(path: Path) -> None:
    """Back every byte of a file with disk: writing to a memory map of it would otherwise end the process with a bus
    error once the disk is full. The content stays. Raises OSError with the file's name where there is no space."""
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
                return
            for offset in range(0, size, PAGE):  # macOS has no such call
                os.pwrite(file.fileno(), os.pread(file.fileno(), 1, offset), offset)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def writing(folder: Path, choice: str = OUTPUTS) -> Iterator[None]:
    """What is written in this block goes to ``folder``, which is chosen by ``choice``. Raises UserError where the disk
    takes no more."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = describe_full(error, folder, choice)
        if full is None:
            raise
        raise UserError(full) from error


def describe_full(error: Exception, folder: Path | None = None, choice: str = OUTPUTS) -> str | None:
    """What to say where an error means that a disk takes no more; None for other errors. ``folder``: where the file was
    to go, unless the error says it; None: somewhere below ``paths.outputs``."""
    reason = explain_full(error)
    if reason is None:
        return None
    named = error.filename if isinstance(error, OSError) else None
    if named is not None:
        place = Path(os.fsdecode(named)).absolute().parent
        mended = folder is None or place.is_relative_to(folder.absolute())  # by another folder for what tdattr writes
    else:
        place, mended = Path("paths.outputs") if folder is None else folder.absolute(), True
    other = f", or choose another folder with {choice}" if mended else ""
    return f"{reason} in {place}: make room there and run the same command again, which resumes{other}."


def explain_full(error: Exception) -> str | None:
    """Why a disk takes no more, where that is what an error says; None for other errors."""
    text = str(error)
    for number in FULL:
        if (isinstance(error, OSError) and error.errno == number) or f"(os error {number})" in text:
            return os.strerror(number)
    unnumbered = isinstance(error, OSError) and error.errno is None
    return os.strerror(errno.ENOSPC) if unnumbered and any(part in text for part in NUMPY_FULL) else None


def expand(path: str | Path | float) -> Path:
    """A path that a user gave, ~ and variables of the environment ($HOME, ${HOME}) replaced by what they stand for; a
    number is the name that a config's YAML took for one, such as that of a folder 2024."""
    return Path(os.path.expandvars(str(path))).expanduser()


def to_json(content: object) -> str:
    """JSON by its standard, which has no NaN and no infinity: see `only_finite`."""
    return json.dumps(only_finite(content), indent=2, allow_nan=False)


def only_finite(content: Any) -> Any:
    """The content of a JSON file with None, which it shows as null, in place of numbers that are not finite."""
    if isinstance(content, Mapping):
        return {key: only_finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [only_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
