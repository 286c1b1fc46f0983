"""Groups by a regular expression on a field of the items, and a sentence for every one that gives none."""

import unicodedata
from dataclasses import replace

import pytest

from tdattr.data.groups import find_groups, list_owners, select_removed
from tdattr.data.prepared import Prepared
from tdattr.errors import UserError

COUNT = 48


@pytest.fixture
def named(tiny_data: Prepared) -> Prepared:
    """The tiny data with names in which a painter, a year and a colon stand; the third has no year."""
    names = [f"shelf {i % 2}/{'Größe' if i % 3 else 'ann'}_19{i % 4}0: {i}.png" for i in range(COUNT)]
    names[2] = "shelf 0/Größe_undated.png"
    return replace(tiny_data, train=replace(tiny_data.train, items=tiny_data.train.items.assign(name=names)))


def test_groups_by_an_expression(named: Prepared) -> None:
    for text in ("name:^([^/]+)/", "name:^(?P<group>.*?)/(.+)_", "name:^(shelf [01])"):
        found = find_groups(named, text)
        assert {name: ids.tolist() for name, ids in found.items()} == {
            "shelf 0": [*range(0, COUNT, 2)], "shelf 1": [*range(1, COUNT, 2)],
        }  # fmt: skip
    apart = unicodedata.normalize("NFD", "Größe")
    assert sorted(find_groups(named, f"name:/({apart}|ann)_")) == ["Größe", "ann"] == sorted({"ann", "Größe"})
    assert [name for _, name in list_owners(named.train.items, "label:class (.)")] == [
        label[-1] for label in named.train.items["label"]
    ]
    assert select_removed(named, "name:/([a-z]+|Größe)_", ["ann"], []).tolist() == [*range(0, COUNT, 3)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name:([a", r"name:\(\[a: what follows the colon is no regular expression \(unterminated"),
        ("name:", r"must have one part in parentheses, which gives the group, and has none: write name:"),
        ("name:shelf", "and has none"),
        ("name:(a)(b)", r"and has 2: .* call the one that counts \(\?P<group>…\)"),
        (
            "name:_(19.0)",
            r"finds no group for 1 of 48 items, the first of them with the name 'shelf 0/Größe_undated.png'",
        ),
        (
            "name:_(19[12]0)?",
            r"finds no group for 25 of 48 items, the first of them with the name 'shelf 0/ann_1900: 0",
        ),
        ("id:(.)", r"is neither a field of the items \(label, name\), nor one with a regular expression"),
        ("artist:(.)", "is neither a field"),
    ],
)
def test_expressions_that_give_no_groups(named: Prepared, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        find_groups(named, text)
    assert str(caught.value).startswith(f"dataset.groups={text} ") or str(caught.value).startswith(
        f"dataset.groups={text}:"
    )


def test_a_field_with_nothing_in_it_is_no_group(named: Prepared) -> None:
    items = named.train.items.assign(artist=["", "b", *["a"] * (COUNT - 3), ""])
    with pytest.raises(UserError, match=r"dataset.groups=artist has nothing for 2 of 48 items, the first of them 0:"):
        find_groups(replace(named, train=replace(named.train, items=items)), "artist")
