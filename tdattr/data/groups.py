"""Groups: named sets of training ids, from a field of the items or from a manifest; and removals: sets of ids."""

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.ids import Ids


def find_groups(data: Prepared, by: str | None) -> dict[str, Ids]:
    """The groups of the training split, by name, each with its ids in ascending order.

    ``by`` is a field of the items, or the path of a manifest that maps every training id to its group: a CSV with the
    columns ``id`` and ``group``, or a JSON object, either {id: group} or {group: [ids]}. Raises UserError for an
    unknown field, an unreadable manifest, an id that is unknown, missing or repeated, and a group without items.
    """
    items = data.train.items
    by = "null" if by is None else by
    fields = [name for name in items.columns if name != "id" and not name.startswith("prompt")]
    if by in fields:
        pairs = list(zip(items["id"].tolist(), items[by].tolist(), strict=True))
    elif Path(by).suffix in (".csv", ".json"):
        pairs = read_manifest(Path(by).expanduser())
        check_manifest(pairs, len(items), by)
    else:
        raise UserError(
            f"dataset.groups={by} is neither a field of the items ({', '.join(fields) or 'there are none'}) "
            "nor the path of a .csv or .json manifest."
        )
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in pairs:
        members[name].append(index)
    return {name: np.array(sorted(members[name])) for name in sorted(members)}


def read_manifest(path: Path) -> list[tuple[int, str]]:
    """The (id, group) pairs of a manifest file. Raises UserError where it cannot be read as one."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
        if path.suffix == ".csv":
            return [parse_entry(row["id"], row["group"]) for row in csv.DictReader(text.splitlines())]
        content = json.loads(text, object_pairs_hook=list)  # as pairs, so that a repeated key is seen
        if not all(isinstance(members, list) for _, members in content):
            return [parse_entry(index, name) for index, name in content]
        for name, members in content:
            if not members:
                raise UserError(f"Group {name!r} in the manifest {path} has no items: give it some or take it out.")
        return [parse_entry(index, name) for name, members in content for index in members]
    except OSError:
        raise UserError(
            f"The manifest {path} does not exist: set dataset.groups to a field or an existing file."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(
            f"The manifest {path} cannot be read ({error}): it must be a CSV with the columns id and group, "
            "or a JSON object from ids to groups or from groups to lists of ids."
        ) from None


def parse_entry(index: object, name: object) -> tuple[int, str]:
    """One line of a manifest. Raises ValueError for an id that is no whole number or a group without a name."""
    if not isinstance(index, (int, str)) or isinstance(index, bool):
        raise ValueError(f"{index!r} is no id")
    if isinstance(name, bool) or not isinstance(name, (int, str)) or name == "":
        raise ValueError(f"id {index} has no group")
    return int(index), str(name)


def check_manifest(pairs: list[tuple[int, str]], count: int, by: str) -> None:
    """Every training id exactly once."""
    ids = [index for index, _ in pairs]
    unknown = sorted(index for index in set(ids) if not 0 <= index < count)
    missing = sorted(set(range(count)) - set(ids))
    if unknown:
        raise UserError(f"The manifest {by} names id {unknown[0]}, but the training ids are 0 to {count - 1}.")
    if len(set(ids)) < len(ids):
        repeated = min(index for index, times in Counter(ids).items() if times > 1)
        raise UserError(f"The manifest {by} names id {repeated} more than once.")
    if missing:
        raise UserError(f"The manifest {by} leaves out {len(missing)} training ids, the first of them {missing[0]}.")


def select_removed(data: Prepared, by: str | None, names: list[str], ids: list[int]) -> Ids:
    """The ids of a removal: those of the named groups together with those listed.

    Raises UserError for an unknown group or id, and where nothing would be left.
    """
    removed = set(ids)
    count = len(data.train)
    if removed and not 0 <= min(removed) <= max(removed) < count:
        raise UserError(f"remove.ids must lie between 0 and {count - 1}.")
    if names:
        groups = find_groups(data, by)
        for name in names:
            if name not in groups:
                raise UserError(f"remove.groups names {name!r}; the groups by {by} are {', '.join(groups)}.")
            removed.update(groups[name].tolist())
    if len(removed) == count:
        raise UserError("remove.groups and remove.ids would remove every training item: nothing would be left.")
    return np.array(sorted(removed), dtype=np.int64)
