"""How numbers and texts of others stand in a sentence."""

from collections.abc import Sequence

LONGEST_EXCERPT = 80  # characters: what one reads at a glance


def noun(count: float, one: str) -> str:
    """The noun that stands after a number, from that for one: ``training``, ``trainings``; ``query``, ``queries``."""
    if count == 1:
        return one
    return f"{one[:-1]}ies" if one.endswith("y") and one[-2:-1] not in "aeiou" else f"{one}s"


def counted(count: int, one: str) -> str:
    """``1 item``, ``27 items``."""
    return f"{count} {noun(count, one)}"


def name_some(names: Sequence[str], most: int) -> str:
    """``a, b, c``; of more than ``most`` the first ones and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def tell_interval(low: float | None, high: float | None, form: str = ".3f", name: str = "") -> str:
    """``0.1 to 0.3``, after its name where it has one; ``no interval`` where there is none."""
    if low is None or high is None:
        return "no interval"
    return f"{name} {low:{form}} to {high:{form}}".lstrip()


def excerpt(text: str) -> str:
    """A text in quotation marks, of a long one its beginning."""
    return repr(text if len(text) <= LONGEST_EXCERPT else f"{text[: LONGEST_EXCERPT - 1]}…")
