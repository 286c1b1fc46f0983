"""The entries themselves: their inputs are drawn as they were, and each of them is tested."""

import pytest

from tests.parity.golden import PATH, golden, read


@pytest.mark.parametrize("name", read())
def test_inputs_are_drawn_as_they_were(name: str) -> None:
    entry = golden(name)
    for drawn in entry.content.get("inputs", {"draws": []})["draws"]:
        values = entry.inputs[drawn["name"]]
        assert values.flat[0] == pytest.approx(drawn["first"], rel=1e-8)
        assert values.sum() == pytest.approx(drawn["sum"], rel=1e-8, abs=1e-8)


def test_every_entry_is_tested() -> None:
    tests = "".join(path.read_text() for path in PATH.parent.glob("test_*.py"))
    assert [name for name in read() if f'golden("{name}")' not in tests] == []
