"""Groups from a field or a manifest, removals from groups and ids, and a sentence for everything that is wrong."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tdattr.data.groups import find_groups, list_owners, read_manifest, select_removed
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.ids import digest_ids, digest_order

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
        with pytest.raises(UserError, match=rf"dataset.groups={by} is neither a field of the items \(label\), nor"):
            find_groups(tiny_data, by)


def test_missing_file(tiny_data: Prepared, tmp_path: Path) -> None:
    for name in ("none.csv", "none.json"):
        with pytest.raises(UserError, match=f"{name} does not exist: set dataset.groups"):
            find_groups(tiny_data, str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.csv", "id,style\n0,a\n", "has no column group"),
        ("x.csv", "index,group\n0,a\n", "has neither the column id nor name"),
        ("x.csv", "id,group\n0,a\nzero,a\n", r"x\.csv, line 3, has 'zero', which is no training item"),
        ("x.csv", "id,group\n0,a\n\n1\n", r"x\.csv, line 4, has 1 cells instead of 2: it must be a CSV"),
        ("x.csv", "id,group\n0,a\n1,\n", r"x\.csv, line 3, has '' where a group should be"),
        ("x.csv", 'id,group\n0,"a\n', "line 2, is no row of a table"),
        ("x.json", "{", "line 1, is not JSON"),
        ("x.json", "[1, 2]", "holds no JSON object"),
        ("x.json", "3", "holds no JSON object"),
        ("x.json", json.dumps({"a": ["zero"]}), "has 'zero', which is no training item"),
        ("x.json", json.dumps({"a": [[0]]}), "has .0. where an item should be"),
        ("x.json", json.dumps({"a": [0, 1], "2": "b"}), "has 'a', which is no training item|where a group should be"),
        ("x.json", '{"a": [0.5, 1.5]}', "has 0.5 where an item should be"),
        ("x.json", '{"0": null}', "has None where a group should be"),
        ("x.json", '{"0": "a", "1": "b", "0": "c"}', "has '0' twice"),
    ],
)
def test_unreadable_manifests(tiny_data: Prepared, write: Write, name: str, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        find_groups(tiny_data, write(name, text))


def test_not_even_text(tiny_data: Prepared, tmp_path: Path) -> None:
    for name in ("x.csv", "x.json"):
        (tmp_path / name).write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(UserError, match="line 1, is not UTF-8"):
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


def test_digest_is_of_the_order() -> None:
    lists = [[3, 1, 40], [1, 3, 40], [3, 1, 1, 40], [3, 1, 40, 40], [3, 1]]
    assert len({digest_order(np.array(ids)) for ids in lists}) == 5
    assert digest_order(np.array([3, 1], dtype=np.int32)) == digest_order(np.array([3, 1]))


@pytest.fixture
def named(tiny_data: Prepared) -> Prepared:
    """The tiny data with names as files have them."""
    items = tiny_data.train.items.assign(name=[f"Größe/{index}.png" for index in range(COUNT)])
    return replace(tiny_data, train=replace(tiny_data.train, items=items))


def test_items_by_their_names(named: Prepared, write: Write) -> None:
    """Names may be decomposed, as some systems write them, and stand beside ids."""
    apart = [(unicodedata.normalize("NFD", f"Größe/{index}.png"), group) for index, group in halves()]
    tables = [
        write("g.csv", "name,group\n" + "".join(f'{name},"{group}"\n' for name, group in apart)),
        write("g.tsv", "name\tgroup\n" + "".join(f"{name}\t{group}\n" for name, group in apart)),
        write("g.json", json.dumps(dict(apart))),
        write("h.json", json.dumps({"rest": EXPECTED["rest"], "dritte, Größe": [n for n, g in apart if g != "rest"]})),
    ]
    for path in tables:
        assert as_lists(find_groups(named, path)) == EXPECTED
        assert [name for _, name in sorted(list_owners(named.train.items, path))] == [g for _, g in halves()[::-1]]
    removed = select_removed(named, tables[0], [unicodedata.normalize("NFD", "rest")], [apart[0][0], 3, "6"])
    assert removed.tolist() == sorted({*EXPECTED["rest"], 47, 3, 6})
    with pytest.raises(UserError, match=r"remove.ids has 'a.png', which is no .* such as Größe/0.png"):
        select_removed(named, None, [], ["a.png"])


def test_a_byte_order_mark_and_separators_in_names(tiny_data: Prepared, tmp_path: Path) -> None:
    names = ["a\u2028b", "two\nlines", "NA", "1"]
    rows = "".join(f'{index},"{names[index % 4]}"\n' for index in range(COUNT))
    (tmp_path / "mark.csv").write_text(f"\ufeffid,group\n{rows}", encoding="utf-8")
    assert sorted(find_groups(tiny_data, str(tmp_path / "mark.csv"))) == sorted(names)


def test_paths_of_manifests_are_expanded(
    tiny_data: Prepared, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("g.csv", as_csv(halves()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TABLES", str(tmp_path))
    for path in ("~/g.csv", "$TABLES/g.csv", "${TABLES}/g.csv"):
        assert as_lists(find_groups(tiny_data, path)) == EXPECTED
    assert len(read_manifest(tmp_path / "g.csv", tiny_data.train.items)) == COUNT
