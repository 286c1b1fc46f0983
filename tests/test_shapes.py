"""While the tests run, what tdattr's functions are given and return is what their annotations say."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float

from tdattr.metrics.frechet import Moments
from tdattr.metrics.ranking import ndcg
from tests.shapes import checked

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
    return of * times  # type: ignore[return-value]


@checked
def rows(first: Row, second: Row) -> Iterator[Row]:
    yield first
    yield cut(second)


@checked
def within(first: Row, second: Row) -> Row:
    @checked
    def longer(row: Row) -> Row:
        return np.repeat(row, 2)

    return longer(first)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ndcg, (np.zeros((2, 3)), np.zeros((2, 4)), 1)),
        (Moments, (SHORT, np.zeros((2, 3)))),
        (add, (SHORT, LONG)),
        (add, ([0.0], [0.0])),
        (cut, (LONG,)),
        (count, ("2",)),
        (count, (1, "once")),
        (count, (1, 2)),
        (rows, (SHORT, LONG)),
        (within, (SHORT, SHORT)),
    ],
)
def test_what_no_annotation_allows_is_refused(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BeartypeCallHintViolation):
        call(*arguments)


def test_sizes_are_compared_within_one_call() -> None:
    assert len(add(SHORT, SHORT)) == 2 and len(add(LONG, LONG)) == 3
    assert isinstance(rows(SHORT, SHORT), Iterator)


@pytest.mark.usefixtures("unchecked")
def test_a_test_may_do_without() -> None:
    assert len(cut(LONG)) == 2
