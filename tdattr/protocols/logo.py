"""Agreement with LOGO: does a method rank groups as retraining without them does? (GUDA)"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tdattr.counterfactuals import Counterfactuals
from tdattr.errors import UserError
from tdattr.ids import Ids
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Judged, Protocol, Verdict
from tdattr.protocols.group_agreement import aggregate_scores, headline, judge
from tdattr.queries import Queries
from tdattr.ranges import Count
from tdattr.scores import Attributor, Scores
from tdattr.store import Plan
from tdattr.tables import DataFrame


@dataclass(frozen=True)
class AgreementWithLOGO(Protocol):
    """The ``protocol=logo`` node. ``ceiling``: LOGO under other seeds, beside whose agreement with ``gold`` a
    method's stands; None: not computed. Scores of training items are aggregated per group first."""

    code_version: ClassVar = 4  # a single query has no interval
    needs: ClassVar = frozenset({"groups"})
    judges_groups: ClassVar = True
    takes_controls: ClassVar = True

    name: str
    gold: Attributor | None  # a method that scores groups
    ceiling: Attributor | None
    aggregate: AggregateConfig
    resamples: Count

    def others(self) -> Mapping[str, Attributor]:
        """Gold, and the ceiling where it is computed."""
        roles = {"gold": self.gold, "ceiling": self.ceiling}
        return {role: method for role, method in roles.items() if method is not None}

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """The agreement by the measures that people are shown."""
        return headline(summary)

    def check_settings(self, queries: int) -> None:
        """There must be a gold standard, and it and the ceiling must not be the same trainings. Raises UserError."""
        if self.gold is None:
            raise UserError("protocol=logo needs a gold standard: leave out protocol.gold=null.")
        if self.ceiling is not None and set(self.gold.seeds) & set(self.ceiling.seeds):
            raise UserError(
                "protocol.gold and protocol.ceiling retrain under the same seeds, so that they agree by "
                f"construction: set protocol.ceiling.first={max(self.gold.seeds) + 1}."
            )

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """Nothing is trained or generated for it."""
        return ()

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Every measure of agreement, and what share of LOGO's agreement with itself that is."""
        groups = models.groups()
        by_role = {role: aggregate_scores(other, groups, self.aggregate) for role, other in others.items()}
        ceilings = [by_role["ceiling"]] if "ceiling" in by_role else []
        values = aggregate_scores(scores, groups, self.aggregate)
        return judge(by_role["gold"], values, list(groups), self.resamples, ceilings)
