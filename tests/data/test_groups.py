"""Groups from a field or a manifest, removals from groups and ids, and a sentence for everything that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tdattr.data.groups import find_groups, read_manifest, select_removed
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.ids import digest_ids

COUNT = 48
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest and return its path."""

    def make(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def as_csv(pairs: list[tuple[int, str]]) -> str:
    return "id,group\n" + "".join(f'{index},"{name}"\n' for index, name in pairs)


def halves() -> list[tuple[int, str]]:
    """Every third item is odd one out, written from the last to the first."""
    return [(index, "dritte, Größe" if index % 3 == 0 else "rest") for index in reversed(range(COUNT))]


def as_lists(found: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: ids.tolist() for name, ids in found.items()}


EXPECTED = {"dritte, Größe": list(range(0, COUNT, 3)), "rest": [i for i in range(COUNT) if i % 3]}


def test_groups_by_a_field(tiny_data: Prepared) -> None:
    found = find_groups(tiny_data, "label")
    assert list(found) == [f"class {number}" for number in range(4)]
    for name, ids in found.items():
        assert ids.tolist() == [i for i, label in enumerate(tiny_data.train.items["label"]) if label == name]
    assert sum(map(len, found.values())) == COUNT


@pytest.mark.parametrize("kind", ["csv", "id to group", "group to ids"])
def test_manifests_of_every_kind(tiny_data: Prepared, write: Write, kind: str) -> None:
    if kind == "csv":
        path = write("groups.csv", as_csv(halves()))
    elif kind == "id to group":
        path = write("groups.json", json.dumps({str(index): name for index, name in halves()}))
    else:
        path = write("groups.json", json.dumps({name: ids[::-1] for name, ids in EXPECTED.items()}))
    found = find_groups(tiny_data, path)
    assert as_lists(found) == EXPECTED
    assert list(found) == sorted(EXPECTED)


def test_more_columns_and_another_order_do_no_harm(tiny_data: Prepared, write: Write) -> None:
    rows = "".join(f'{index % 7},"{name}",{index}\n' for index, name in halves())
    assert as_lists(find_groups(tiny_data, write("groups.csv", "weight,group,id\n" + rows))) == EXPECTED


def test_numbers_as_group_names(tiny_data: Prepared, write: Write) -> None:
    found = find_groups(tiny_data, write("groups.json", json.dumps({index: index % 2 for index in range(COUNT)})))
    assert as_lists(found) == {"0": list(range(0, COUNT, 2)), "1": list(range(1, COUNT, 2))}


def test_neither_field_nor_manifest(tiny_data: Prepared) -> None:
    for by in ("style", "id", "groups.txt"):
        with pytest.raises(UserError, match=rf"dataset.groups={by} is neither a field of the items \(label\) nor"):
            find_groups(tiny_data, by)


def test_missing_file(tiny_data: Prepared, tmp_path: Path) -> None:
    for name in ("none.csv", "none.json"):
        with pytest.raises(UserError, match=f"{name} does not exist: set dataset.groups"):
            find_groups(tiny_data, str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "id,style\n0,a\n"),
        ("x.csv", "index,group\n0,a\n"),
        ("x.csv", "id,group\nzero,a\n"),
        ("x.json", "{"),
        ("x.json", "[1, 2]"),
        ("x.json", "3"),
        ("x.json", json.dumps({"a": ["zero"]})),
        ("x.json", json.dumps({"a": [[0]]})),
        ("x.json", json.dumps({"a": [0, 1], "2": "b"})),
    ],
)
def test_unreadable_manifests(tiny_data: Prepared, write: Write, name: str, text: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read .* must be a CSV with the columns id and group"):
        find_groups(tiny_data, write(name, text))


def test_not_even_text(tiny_data: Prepared, tmp_path: Path) -> None:
    for name in ("x.csv", "x.json"):
        (tmp_path / name).write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(UserError, match="cannot be read"):
            find_groups(tiny_data, str(tmp_path / name))


@pytest.mark.parametrize(("extra", "index"), [((COUNT, "a"), COUNT), ((-1, "a"), -1)])
def test_unknown_ids(tiny_data: Prepared, write: Write, extra: tuple[int, str], index: int) -> None:
    with pytest.raises(UserError, match=f"names id {index}, but the training ids are 0 to 47"):
        find_groups(tiny_data, write("x.csv", as_csv([*halves(), extra])))


def test_repeated_ids(tiny_data: Prepared, write: Write) -> None:
    for extra in ((17, "rest"), (17, "dritte, Größe")):
        with pytest.raises(UserError, match="names id 17 more than once"):
            find_groups(tiny_data, write("x.csv", as_csv([*halves(), extra])))
    with pytest.raises(UserError, match="names id 17 more than once"):
        find_groups(tiny_data, write("x.json", json.dumps({**EXPECTED, "more": [17]})))


def test_missing_ids(tiny_data: Prepared, write: Write) -> None:
    with pytest.raises(UserError, match="leaves out 2 training ids, the first of them 5"):
        find_groups(tiny_data, write("x.csv", as_csv([pair for pair in halves() if pair[0] not in (5, 40)])))
    for name, text in (("empty.csv", "id,group\n"), ("empty.json", "{}")):
        with pytest.raises(UserError, match="leaves out 48 training ids, the first of them 0"):
            find_groups(tiny_data, write(name, text))


def test_groups_without_items(tiny_data: Prepared, write: Write) -> None:
    with pytest.raises(UserError, match=r"Group 'nobody' .* has no items"):
        find_groups(tiny_data, write("x.json", json.dumps({**EXPECTED, "nobody": []})))


def test_a_removal_is_the_union_of_groups_and_ids(tiny_data: Prepared, write: Write) -> None:
    manifest = write("x.csv", as_csv(halves()))
    assert select_removed(tiny_data, "label", [], []).tolist() == []
    assert select_removed(tiny_data, "label", [], [9, 2, 9]).tolist() == [2, 9]
    assert select_removed(tiny_data, manifest, ["dritte, Größe"], [47, 3]).tolist() == sorted([*range(0, COUNT, 3), 47])
    both = select_removed(tiny_data, "label", ["class 1", "class 3"], [])
    assert both.tolist() == [i for i, label in enumerate(tiny_data.train.items["label"]) if label[-1] in "13"]
    assert np.issubdtype(select_removed(tiny_data, "label", [], []).dtype, np.integer)


def test_impossible_removals(tiny_data: Prepared) -> None:
    for ids in ([COUNT], [-1], [0, 100]):
        with pytest.raises(UserError, match=r"remove.ids must lie between 0 and 47"):
            select_removed(tiny_data, "label", [], ids)
    with pytest.raises(UserError, match=r"remove.groups names 'class 9'; the groups by label are class 0, class 1"):
        select_removed(tiny_data, "label", ["class 0", "class 9"], [])
    for names, ids in (
        ([f"class {number}" for number in range(4)], []),
        ([], list(range(COUNT))),
        (["class 0"], [i for i, label in enumerate(tiny_data.train.items["label"]) if label != "class 0"]),
    ):
        with pytest.raises(UserError, match="nothing would be left"):
            select_removed(tiny_data, "label", names, ids)


def test_digest_is_of_the_set() -> None:
    ids = np.array([3, 1, 40])
    same = [np.array([40, 3, 1]), np.array([1, 3, 40], dtype=np.int32), np.array([1, 1, 3, 40, 40])]
    assert {digest_ids(other) for other in same} == {digest_ids(ids)}
    others = [np.array([], dtype=int), np.array([0]), np.array([3, 1]), np.array([3, 1, 41]), np.array([31, 40])]
    assert len({digest_ids(other) for other in [ids, *others]}) == 6


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("short.csv", "id,group\n0,a\n1\n"),
        ("nameless.csv", "id,group\n0,a\n1,\n"),
        ("fraction.json", '{"a": [0.5, 1.5]}'),
        ("null.json", '{"0": null}'),
        ("list.json", "[1, 2]"),
    ],
)
def test_what_is_no_manifest(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path / name)


def test_a_repeated_key_is_seen_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    (tmp_path / "twice.json").write_text('{"0": "a", "1": "b", "0": "c"}')
    assert read_manifest(tmp_path / "twice.json") == [(0, "a"), (1, "b"), (0, "c")]
    (tmp_path / "mark.csv").write_text("\ufeffid,group\n0,a\n", encoding="utf-8")
    assert read_manifest(tmp_path / "mark.csv") == [(0, "a")]
