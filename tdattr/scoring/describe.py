"""What is said of scores that were made from some of the losses after unlearning."""

from collections.abc import Mapping

READ_BY = {"doubt": "racing", "pairs_each": "importance"}  # the settings of a method's score that one allocation reads


def tell_allocation(facts: Mapping[str, float]) -> list[str]:
    """How many of the losses were evaluated, by a method's facts, which are means over its queries, and what that may
    have cost; nothing where all were."""
    if "share_evaluated" not in facts:
        return []
    line = f"{facts['evaluations']:,.0f} losses after unlearning a query, {facts['share_evaluated']:.1%} of all"
    if "expected_misses" in facts:
        line += f"; {facts['expected_misses']:.2f} items of a query are expected to be wrongly left out"
    if "standard_error" in facts:
        line += f"; the standard error of a score is {facts['standard_error']:.2g}"
    return [line]
