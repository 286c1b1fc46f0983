"""What lies in a folder of images of any size: each file is looked at once, and little more than its name is kept."""

import errno
import hashlib
import json
import logging
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tdattr.data.images import OTHER_SUFFIXES, SUFFIXES
from tdattr.data.names import show_name
from tdattr.errors import UserError
from tdattr.wording import counted

log = logging.getLogger(__name__)
TOP = "(no folder)"  # the group of images that lie in no sub-folder
BROKEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # of links that lead to no file


class Found(NamedTuple):
    """An image file: its name below the folder, as the file system spells it; what tells it from others, whatever its
    path; its size in bytes; and the time of its change in nanoseconds."""

    name: str
    identity: tuple[int, int]
    size: int
    changed: int


@dataclass
class Listing:
    """The images of each group, both sorted by name, and what else was found: ``tables``, the names of other files that
    were sought; how many files look like images and are not read, by suffix; and how many links to images lead nowhere.
    """

    groups: dict[str, list[Found]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    broken: int = 0

    @property
    def images(self) -> list[Found]:
        """Those of all groups."""
        return [found for images in self.groups.values() for found in images]

    def warn_of_others(self, root: Path) -> None:
        """Say which files below ``root`` look like images and are not read, and how many."""
        counts = [f"{count} {suffix}" for suffix, count in sorted(self.others.items())]
        counts += [counted(self.broken, "broken link")] if self.broken else []
        if counts:
            log.warning(
                "%s: some files are not read (%s): save them as PNG or JPEG to use them.",
                show_name(root), ", ".join(counts),
            )  # fmt: skip

    def stamp(self) -> str:
        """A digest of the images' names, sizes and times of change (reading them all would take long)."""
        facts: list[Any] = [(found.name, found.size, found.changed) for found in self.images]
        facts += [TOP] if TOP in self.groups else []  # which items have, and no name of a file
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def list_folder(root: Path, tables: Iterable[str] = ()) -> Listing:
    """What lies below ``root`` and is not hidden; a folder directly in it is a group. ``tables``: names of other files
    that are sought, at any depth.

    Images directly in it are a group too, `TOP`. Raises UserError for a folder or file that cannot be looked at, and
    where two groups have one name.
    """
    listing, sought = Listing(), frozenset(tables)
    try:
        visible = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except OSError as error:
        refuse(error)
    folders = {name for name in visible if os.path.isdir(os.path.join(root, name))}
    if top := list_files(listing, root, (name for name in visible if name not in folders), sought):
        listing.groups[TOP] = top
    start = len(os.path.join(root, ""))
    for folder in sorted(folders):
        shown = show_name(folder)
        if shown == TOP and top:
            raise UserError(f"A folder is called {TOP}, as are the images that lie in none: rename it.")
        if shown in listing.groups:
            raise UserError(f"{shown} is there twice, with letters that are encoded in two ways: rename one of them.")
        below = (path[start:] for path in walk(os.path.join(root, folder)))
        listing.groups[shown] = list_files(listing, root, below, sought)
    listing.tables.sort()
    return listing


def list_files(listing: Listing, root: Path, names: Iterable[str], sought: frozenset[str]) -> list[Found]:
    """The images among these files, in the order of paths: folder by folder. What else they are is noted."""
    images = []
    for name in names:
        last = name.rpartition("/")[2]
        suffix = os.path.splitext(last)[1].lower()
        if last.startswith("."):
            continue
        if suffix in SUFFIXES:
            try:
                facts = os.stat(os.path.join(root, name))
            except OSError as error:
                if error.errno not in BROKEN:
                    refuse(error)
                listing.broken += 1
            else:
                if stat.S_ISREG(facts.st_mode):
                    images.append(Found(name, (facts.st_dev, facts.st_ino), facts.st_size, facts.st_mtime_ns))
        elif suffix in OTHER_SUFFIXES:
            listing.others[suffix] += 1
        elif last in sought:
            listing.tables.append(name)
    return sorted(images, key=lambda found: found.name.split("/"))


def walk(folder: str) -> Iterator[str]:
    """The paths of all files below a folder that do not lie in hidden ones, also behind links to folders.

    Each folder is entered once: where it lies or, if it lies elsewhere, by the first link in the order of names. A link
    to a folder that ``folder`` itself lies in leads nowhere. Raises UserError for a folder that cannot be listed.
    """
    starts = (Path(folder).absolute(), Path(folder).resolve())
    entered = {identify(path) for start in starts for path in start.parents}
    waiting = deque([folder])
    while waiting:
        top = waiting.popleft()
        if identify(top) in entered:
            continue
        for here, folders, files in os.walk(top, onerror=refuse):
            entered.add(identify(here))
            inner = [name for name in sorted(folders) if not name.startswith(".")]
            links = {name for name in inner if os.path.islink(os.path.join(here, name))}
            waiting += [os.path.join(here, name) for name in inner if name in links]
            folders[:] = [
                name for name in inner if name not in links and identify(os.path.join(here, name)) not in entered
            ]
            yield from (os.path.join(here, name) for name in files)


def identify(path: str | Path) -> tuple[int, int]:
    """What tells a folder from others, whatever its path."""
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino


def refuse(error: OSError) -> NoReturn:
    """Raise UserError for a folder that cannot be listed, or a file that cannot be looked at."""
    raise UserError(f"{error.filename} cannot be looked at ({error.strerror}): mend or remove it.") from error
