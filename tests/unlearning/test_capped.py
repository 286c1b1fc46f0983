"""A limit of steps that ends the unlearning of most queries is said."""

import pytest

from tdattr.unlearning.capped import tell_capped


@pytest.mark.parametrize("facts", [{}, {"capped": 0.0}, {"capped": 0.5}, {"capped": float("nan")}])
def test_where_few_are_cut_short_nothing_is_said(facts: dict[str, float]) -> None:
    assert tell_capped(facts) is None


def test_where_most_are_cut_short_the_setting_is_named() -> None:
    assert tell_capped({"capped": 0.75}) == (
        "The unlearning of 75% of the queries ended at method.unlearn.max_steps, before they were forgotten: raise it, "
        "or method.unlearn.learning_rate_factor."
    )
