"""Which numbers a config field takes, said once, at the field: ``learning_rate: Positive``.

Where a config node becomes an object (`tdattr.configs`) every number is checked, so a check like ``x < 0``, which NaN
passes, is needed nowhere else. A field that is a plain ``int`` or ``float`` takes any number. NaN and infinity are no
numbers that a setting can have, and neither is a truth value.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tdattr.errors import UserError


@dataclass(frozen=True)
class Range:
    """The numbers between two bounds; None: no such bound. ``least`` and ``most`` belong to it, the others do not."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        words = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        bounds = [f"{word} {bound}" for word, bound in words.items() if bound is not None]
        return " and ".join(bounds) or "a finite number"


Count = Annotated[int, Range(least=1)]
CountOrZero = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
PositiveOrZero = Annotated[float, Range(least=0)]
Probability = Annotated[float, Range(least=0, most=1)]
Share = Annotated[float, Range(above=0, most=1)]  # some or all
Part = Annotated[float, Range(above=0, below=1)]  # some but not all
PartOrZero = Annotated[float, Range(least=0, below=1)]  # some or nothing, but not all


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def check_numbers(hint: Any, value: Any, path: str) -> None:
    """Raise UserError where a value, or one in a list or dictionary, is a number that its hint does not allow."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        kinds = alternatives(hint)
        allowed = find_range(kinds)
        if value not in allowed:
            others = ["null"] * (type(None) in kinds)
            others += [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
            raise UserError(f"{path}={value} must be {', or '.join([str(allowed), *others])}.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_numbers(element(hint), inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            check_numbers(element(hint), inner, f"{path}[{index}]")


def find_range(kinds: tuple[Any, ...]) -> Range:
    """The range that one of these kinds has; any finite number where none has."""
    marks = [mark for kind in kinds if get_origin(kind) is Annotated for mark in kind.__metadata__]
    return next((mark for mark in marks if isinstance(mark, Range)), Range())


def element(hint: Any) -> Any:
    """The hint of what a list or dictionary holds."""
    return next((get_args(kind)[-1] for kind in alternatives(hint) if get_origin(kind) in (list, dict)), Any)


def check_kinds(hint: Any, value: Any, path: str) -> None:
    """Raise UserError for what OmegaConf would turn into a text or a truth value without a word.

    ``dataset.groups=true`` would ask for the groups ``True``, and ``train.mirror=5`` would mirror. A whole number may
    stand for the text of its digits.
    """
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            check_kinds(element(hint), inner, f"{path}[{index}]")
    elif str in alternatives(hint) and isinstance(value, (bool, float)):
        quoted = f"\"{path}='…'\""
        raise UserError(f"{path}={value} must be a text, in quotes where it looks like anything else ({quoted}).")
    elif bool in alternatives(hint) and isinstance(value, int) and value not in (0, 1):
        raise UserError(f"{path}={value} must be true or false.")
