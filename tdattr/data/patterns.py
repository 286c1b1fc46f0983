"""Groups by a pattern: a regular expression that is sought in a field of the items, such as their names."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from tdattr.data.names import FIELD, compose
from tdattr.errors import UserError
from tdattr.tables import DataFrame
from tdattr.wording import counted

GROUP = "group"  # what the part of the expression that gives the group is called, where it has several


@dataclass(frozen=True)
class Pattern:
    """``text``, as it is written in the config: ``field:expression``."""

    field: str
    expression: re.Pattern[str]
    text: str

    def find(self, items: DataFrame, setting: str) -> list[str]:
        """The group of every item. Raises UserError where the expression is not found in an item's field, or gives it
        no name."""
        values = items[self.field].tolist()
        key = GROUP if GROUP in self.expression.groupindex else 1
        found = [self.expression.search(compose(value)) for value in values]
        groups = ["" if match is None else match[key] or "" for match in found]
        missing = [value for value, group in zip(values, groups, strict=True) if not group]
        if missing:
            raise UserError(
                f"{setting}={self.text} finds no group for {len(missing)} of {counted(len(values), 'item')}, the first "
                f"of them with the {self.field} {missing[0]!r}: mend the expression after the colon."
            )
        return groups


def parse_pattern(text: str, fields: Collection[str], setting: str) -> Pattern | None:
    """What ``text`` says; None where it does not begin with one of the fields and a colon. Raises UserError where no
    expression follows, or one that does not say which part is the group."""
    field, colon, source = text.partition(":")
    if not colon or field not in fields:
        return None
    try:
        expression = re.compile(compose(source))
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{setting}={text}: what follows the colon is no regular expression ({error}).") from error
    if expression.groups != 1 and GROUP not in expression.groupindex:
        have = "none" if not expression.groups else str(expression.groups)
        raise UserError(
            f"{setting}={text} must have one part in parentheses, which gives the group, and has {have}: write "
            f"{FIELD}:^([^/]+)/, for example, or call the one that counts (?P<{GROUP}>…)."
        )
    return Pattern(field, expression, text)
