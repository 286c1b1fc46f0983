"""Agreement with the truth, for datasets whose items say what they are composed of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tdattr.data.truth import truth
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Counterfactuals, Scores, Verdict
from tdattr.protocols.group_agreement import judged, of_groups


@dataclass(frozen=True)
class AgreementWithTruth:
    """The ``protocol=truth`` node. Scores of training items are aggregated per group first."""

    others: ClassVar = ()
    takes_groups: ClassVar = True
    takes_grid: ClassVar = False
    takes_controls: ClassVar = True

    name: str
    aggregate: AggregateConfig
    resamples: int

    def check(self, items: int, queries: int) -> None:
        """Nothing that the groups do not decide."""

    def check_data(self, models: Counterfactuals) -> None:
        """The items must say what they are composed of. Raises UserError; nothing is trained for it."""
        truth(*models.items(), list(models.groups()))

    def evaluate(self, scores: Scores, others: Mapping[str, Scores], models: Counterfactuals) -> Verdict:
        """Every measure of agreement with what each query is composed of."""
        groups = models.groups()
        train, queries = models.items()
        gold = truth(train, queries, list(groups))
        return judged(gold, of_groups(scores, groups, self.aggregate), list(groups), self.resamples)
