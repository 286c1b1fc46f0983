"""What is said of a training that was differentiated: how smooth it is in its data."""

from collections.abc import Mapping

GROWTH = "growth"  # names of facts: how many times as much as at the end a change during the training counts, at most
SMOOTHNESS = "smoothness"
PREDICTION = "prediction"


def tell_smoothness(facts: Mapping[str, float]) -> list[str]:
    """The numbers that a run measures, by a method's facts, which are means over its queries; nothing where no training
    was differentiated."""
    if GROWTH not in facts:
        return []
    line = f"derivatives grow up to {facts[GROWTH]:.2g} times on the way back through the training"
    if SMOOTHNESS in facts:
        line += f"; its smoothness is {facts[SMOOTHNESS]:.2f} of 1"
    if PREDICTION in facts:
        line += f"; the scores predict a small change of it with a correlation of {facts[PREDICTION]:.2f}"
    return [line]
