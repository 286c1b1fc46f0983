"""Agreement with LOGO: does a method rank groups as retraining without them does? (GUDA)"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tdattr.errors import UserError
from tdattr.methods.logo import LOGO
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Counterfactuals, Scores, Verdict
from tdattr.protocols.group_agreement import judged, of_groups


@dataclass(frozen=True)
class AgreementWithLOGO:
    """The ``protocol=logo`` node. ``ceiling``: LOGO under other seeds, whose agreement with ``gold`` bounds every
    method's; None: not computed. Scores of training items are aggregated per group first."""

    others: ClassVar = ("gold", "ceiling")
    takes_groups: ClassVar = True
    takes_grid: ClassVar = False
    takes_controls: ClassVar = True

    name: str
    gold: Any  # a method that scores groups
    ceiling: Any
    aggregate: AggregateConfig
    resamples: int

    def check(self, items: int, queries: int) -> None:
        """Gold and ceiling must not be the same trainings. Raises UserError."""
        if isinstance(self.gold, LOGO) and isinstance(self.ceiling, LOGO):
            first, second = (range(each.first, each.first + each.repeats) for each in (self.gold, self.ceiling))
            if set(first) & set(second):
                raise UserError(
                    "protocol.gold and protocol.ceiling retrain under the same seeds, so that they agree by "
                    f"construction: set protocol.ceiling.first={first.stop}."
                )

    def evaluate(self, scores: Scores, others: Mapping[str, Scores], models: Counterfactuals) -> Verdict:
        """Every measure of agreement, and what share of LOGO's agreement with itself that is."""
        groups = models.groups()
        gold, *ceiling = (of_groups(others[role], groups, self.aggregate) for role in self.others if role in others)
        found = of_groups(scores, groups, self.aggregate)
        return judged(gold, found, list(groups), self.resamples, ceiling[0] if ceiling else None)
