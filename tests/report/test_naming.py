"""Titles say what tells experiments apart, however much else is different."""

from itertools import product

from tdattr.report.naming import MOST_DIFFERENCES, tell_apart

MODEL = [f"model.{name}" for name in ("width", "heads", "blocks", "patch", "depth")]
SAME = {"dataset.name": "glyphs", "protocol.name": "lds"}


def test_what_tells_apart_is_named_among_much_that_differs() -> None:
    old = SAME | dict.fromkeys(MODEL, 1) | {"protocol.share": 0.5, "train.removal": "replaced"}
    new = old | dict.fromkeys(MODEL, 2)
    settings = [old] + [
        new | {"protocol.share": share, "train.removal": removal}
        for share, removal in product((0.5, 0.95), ("replaced", "empty"))
    ]
    told = tell_apart(settings)
    assert len({tuple(each) for each in told}) == len(settings)
    assert all(len(each) == MOST_DIFFERENCES and each[-1].endswith(" …") for each in told)
    assert "protocol.share=0.95" in told[-1] and "train.removal=empty …" in told[-1]


def test_few_differences_are_all_named() -> None:
    settings = [SAME | {"a": 1, "b": None}, SAME | {"a": 2, "b": None}, SAME | {"a": 2, "b": True}]
    assert tell_apart(settings) == [["a=1", "b=null"], ["a=2", "b=null"], ["a=2", "b=true"]]


def test_other_titles_need_no_settings() -> None:
    assert tell_apart([SAME | {"a": 1}, SAME | {"a": 2, "dataset.name": "digits"}]) == [[], []]
