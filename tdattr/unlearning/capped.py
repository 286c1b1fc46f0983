"""What is said where the limit of steps, and not the null loss, ended the unlearning of most queries."""

from collections.abc import Mapping

CAPPED = "capped"  # what a method notes of a query: 1.0 where it was so, else 0.0
MOST = 0.5  # of the queries: beyond, the limit decides what most scores are of; ours


def tell_capped(facts: Mapping[str, float]) -> str | None:
    """The sentence on a method's facts, which are means over its queries; None where there is nothing to say."""
    share = facts.get(CAPPED, 0.0)
    if not share > MOST:  # not a number either, where no query was looked at
        return None
    return (
        f"The unlearning of {share:.0%} of the queries ended at method.unlearn.max_steps, before they were forgotten: "
        "raise it, or method.unlearn.learning_rate_factor."
    )
