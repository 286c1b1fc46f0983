"""Agreement with LOGO: does a method rank groups as retraining without them does? (GUDA)"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tdattr.errors import UserError
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Counterfactuals, Scores, Verdict
from tdattr.protocols.group_agreement import aggregate_scores, check_resamples, judge


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
        """There must be a gold standard, and it and the ceiling must not be the same trainings. Raises UserError."""
        check_resamples(self.resamples)
        if self.gold is None:
            raise UserError("protocol=logo needs a gold standard: leave out protocol.gold=null.")
        first, second = (getattr(each, "seeds", range(0)) for each in (self.gold, self.ceiling))
        if set(first) & set(second):
            raise UserError(
                "protocol.gold and protocol.ceiling retrain under the same seeds, so that they agree by "
                f"construction: set protocol.ceiling.first={first.stop}."
            )

    def evaluate(self, scores: Scores, others: Mapping[str, Scores], models: Counterfactuals) -> Verdict:
        """Every measure of agreement, and what share of LOGO's agreement with itself that is."""
        groups = models.groups()
        known = {role: aggregate_scores(other, groups, self.aggregate) for role, other in others.items()}
        ceilings = [known["ceiling"]] if "ceiling" in known else []
        values = aggregate_scores(scores, groups, self.aggregate)
        return judge(known["gold"], values, list(groups), self.resamples, ceilings)
