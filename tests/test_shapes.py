"""While the tests run, what tdattr's functions are given and return is what their annotations say."""

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jaxtyping import Float

from tdattr.metrics.frechet import Moments
from tdattr.metrics.ranking import ndcg
from tests.shapes import Decorate, checked

if TYPE_CHECKING:
    from tdattr.store import Plan

Row = Float[np.ndarray, " item"]
SHORT, LONG = np.zeros(2), np.zeros(3)


@checked
def add(first: Row, second: Row) -> Row:
    return first + second


@checked
def cut(row: Row) -> Row:
    return row[1:]


@checked
def count(times: int, of: "str" = "", plans: "list[Plan] | None" = None) -> int:
    return of * times


@checked
def rows(first: Row, second: Row) -> Iterator[Row]:
    yield first
    yield second[1:]


@checked
def quoted(first: "Row", second: "Row") -> "Row":
    return first


@checked
def within(first: Row, second: Row) -> Row:
    @checked
    def longer(row: Row) -> Row:
        return np.repeat(row, 2)

    longer(first)
    return second


@checked
def besides(first: Row, second: Row) -> Row:
    quoted(np.append(first, 0), np.append(second, 0))
    return add(np.append(first, [0, 0]), np.append(second, [0, 0]))[2:]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (add, (SHORT, LONG)),
        (add, ([0.0], [0.0])),
        (cut, (LONG,)),
        (count, ("2",)),
        (count, (1, "once")),
        (count, (1, 2)),
        (rows, (SHORT, LONG)),
        (quoted, (SHORT, LONG)),
        (within, (SHORT, SHORT)),
    ],
)
def test_what_no_annotation_allows_is_refused(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="violates type hint"):
        call(*arguments)


def test_sizes_are_compared_within_one_call() -> None:
    assert len(add(SHORT, SHORT)) == 2 and len(add(LONG, LONG)) == 3
    assert len(besides(SHORT, SHORT)) == 2
    assert [len(row) for row in rows(SHORT, SHORT)] == [2, 1]  # what is yielded is not checked


SOURCE = """
class Cutter:
    def method(self, row: Row) -> Row:
        return row[1:]

    @property
    def length(self) -> int:
        return "two"

    @staticmethod
    def make(first: Row) -> object:
        def inner(second: Row) -> Row:
            return second[1:]
        return inner
"""


def test_all_that_is_in_a_module_is_checked() -> None:
    names: dict[str, Any] = {"Row": Row}
    exec(compile(ast.fix_missing_locations(Decorate().visit(ast.parse(SOURCE))), "cutter.py", "exec"), names)
    cutter = names["Cutter"]()
    for call in (lambda: cutter.method(LONG), lambda: cutter.length, lambda: cutter.make(LONG)(LONG)):
        with pytest.raises(TypeError, match="violates type hint"):
            call()


def test_modules_of_tdattr_are() -> None:
    for call in (lambda: ndcg(np.zeros((2, 3)), np.zeros((2, 4)), 1), lambda: Moments(SHORT, np.zeros((2, 3)))):
        with pytest.raises(TypeError, match="violates type hint"):
            call()


def test_a_function_is_where_it_was() -> None:
    assert "def ndcg(" in inspect.getsource(ndcg) and len(inspect.getsource(ndcg).splitlines()) < 30


@pytest.mark.usefixtures("unchecked")
def test_a_test_may_do_without() -> None:
    assert len(cut(LONG)) == 2
