"""Numbers and texts of others in a sentence."""

import pytest

from tdattr.wording import LONGEST_EXCERPT, counted, excerpt, noun


@pytest.mark.parametrize(
    ("count", "one", "words"),
    [
        (1, "training", "1 training"),
        (0, "training", "0 trainings"),
        (2, "query", "2 queries"),
        (1, "query", "1 query"),
        (3, "day", "3 days"),
    ],
)
def test_nouns_stand_in_the_right_number(count: int, one: str, words: str) -> None:
    assert counted(count, one) == words


def test_a_number_that_is_no_whole_one_has_the_plural() -> None:
    assert noun(1.5, "step") == "steps"


def test_of_a_long_text_the_beginning_is_quoted() -> None:
    assert excerpt("it's short") == '"it\'s short"'
    long = excerpt("a" * 1000)
    assert long == repr("a" * (LONGEST_EXCERPT - 1) + "…")
