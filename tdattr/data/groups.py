"""Groups: named sets of training ids, from a field of the items, a pattern or a manifest; and removals: sets of ids."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tdattr.data.names import FIELD, compose, find_id, number_names
from tdattr.data.patterns import Pattern, parse_pattern
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.ids import Ids
from tdattr.tables import DataFrame, read_json, read_rows
from tdattr.wording import counted

MANIFEST = (
    "it must be a CSV with the columns id or name, and group (quote names with commas), or a JSON object from items "
    "to groups or from groups to lists of items"
)
SUFFIXES = (".csv", ".tsv", ".json")  # of manifests
Entry = tuple[str, object, object]  # of a manifest: where it stands, an item, its group


def find_groups(data: Prepared, by: str | None) -> dict[str, Ids]:
    """The groups of the training split, by name, each with its ids in ascending order.

    ``by`` is a field of the items, ``field:expression`` (see `tdattr.data.patterns`), or the path of a manifest that
    maps every training item to its group: a CSV (or .tsv) with the columns ``id`` and ``group``, or a JSON object,
    either {id: group} or {group: [ids]}. Where items have names these may stand for ids; the column is then ``name``.
    Raises UserError for an unknown field, an item without a group, an unreadable manifest, an item that is unknown,
    missing or repeated, and a group without items.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in list_owners(data.train.items, by):
        members[name].append(index)
    return {name: np.array(sorted(members[name])) for name in sorted(members)}


def list_owners(
    items: DataFrame, by: str | None, setting: str = "dataset.groups", remedy: str = ""
) -> list[tuple[int, str]]:
    """The id of every training item, each with its group; see ``find_groups``. ``setting``: where ``by`` stands in the
    config, and what else to set, for messages."""
    fields = [name for name in items.columns if name != "id" and not name.startswith("prompt")]
    found = check_by(by, fields, setting, remedy)
    if isinstance(found, Path):
        pairs = read_manifest(found, items)
        check_manifest(pairs, len(items), str(found))
        return pairs
    names = items[by].tolist() if found is None else found.find(items, setting)
    check_named(names, by, setting)
    return list(zip(items["id"].tolist(), names, strict=True))


def check_named(names: Sequence[str], by: str | None, setting: str) -> None:
    """Raise UserError where an item has no group: a field may be empty."""
    bare = [index for index, name in enumerate(names) if not name]
    if bare:
        raise UserError(
            f"{setting}={by} has nothing for {len(bare)} of {counted(len(names), 'item')}, the first of them "
            f"{bare[0]}: complete that field where it comes from, or choose another."
        )


def check_by(by: str | None, fields: Collection[str], setting: str, remedy: str = "") -> Pattern | Path | None:
    """None where ``by`` is one of the fields of the items, otherwise a pattern or the path of a manifest. Raises
    UserError where it is neither."""
    by = "null" if by is None else by
    if by in fields:
        return None
    if (pattern := parse_pattern(by, fields, setting)) is not None:
        return pattern
    path = expand(by)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{setting}={by} is neither a field of the items ({', '.join(fields) or 'there are none'}), nor one with a "
            f"regular expression (field:expression), nor the path of a .csv, .tsv or .json manifest{remedy}."
        )
    return path


def read_manifest(path: Path, items: DataFrame) -> list[tuple[int, str]]:
    """The (id, group) pairs of a manifest file. Raises UserError where it cannot be read as one, or names an item that
    is not among ``items``."""
    if not path.exists():
        raise UserError(f"The manifest {path} does not exist: set dataset.groups to a field or an existing file.")
    by_name = number_names(items)
    entries = list_entries(path) if path.suffix.lower() == ".json" else list_rows(path)
    return [parse_entry(place, item, name, by_name) for place, item, name in entries]


def list_rows(path: Path) -> Iterator[Entry]:
    """The entries of a manifest that is a table, each with its line. Raises UserError where it is none."""
    rows = read_rows(path, ["group"], MANIFEST)
    key = next((name for name in ("id", FIELD) if rows and name in rows[0].cells), None)
    if rows and key is None:
        raise UserError(f"The manifest {path} has neither the column id nor {FIELD}: {MANIFEST}.")
    for line, cells in rows:
        yield f"The manifest {path}, line {line},", cells[key or ""], cells["group"]


def list_entries(path: Path) -> Iterator[Entry]:
    """The entries of a JSON manifest. Raises UserError for another form, and for an empty group."""
    content, place = read_json(path, MANIFEST), f"The manifest {path}"
    if not isinstance(content, dict):
        raise UserError(f"{place} holds no JSON object: {MANIFEST}.")
    if not all(isinstance(members, list) for members in content.values()):
        yield from ((place, item, name) for item, name in content.items())
        return
    for name, members in content.items():
        if not members:
            raise UserError(f"Group {name!r} in the manifest {path} has no items: give it some or take it out.")
        yield from ((place, item, name) for item in members)


def parse_entry(place: str, item: object, name: object, by_name: Mapping[str, int]) -> tuple[int, str]:
    """The id and the group of one entry. Raises UserError for what is neither, or no training item."""
    for value, kind in ((item, "an item"), (name, "a group")):
        if not isinstance(value, (int, str)) or isinstance(value, bool) or value == "":
            raise UserError(f"{place} has {value!r} where {kind} should be: {MANIFEST}.")
    assert isinstance(item, (int, str))
    return find_id(by_name, item, place), compose(str(name))


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


def select_removed(data: Prepared, by: str | None, names: Sequence[str], items: Sequence[int | str]) -> Ids:
    """The ids of a removal: those of the named groups together with the items listed, by their ids or names.

    Raises UserError for an unknown group or item, and where nothing would be left.
    """
    by_name = number_names(data.train.items)
    removed = {find_id(by_name, item, "remove.ids") for item in items}
    count = len(data.train)
    if removed and not 0 <= min(removed) <= max(removed) < count:
        raise UserError(f"remove.ids must lie between 0 and {count - 1}.")
    if names:
        groups = {compose(name): ids for name, ids in find_groups(data, by).items()}
        for name in map(compose, names):
            if name not in groups:
                raise UserError(f"remove.groups names {name!r}; the groups by {by} are {', '.join(groups)}.")
            removed.update(groups[name].tolist())
    if len(removed) == count:
        raise UserError("remove.groups and remove.ids would remove every training item: nothing would be left.")
    return np.array(sorted(removed), dtype=np.int64)
