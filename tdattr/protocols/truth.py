"""Agreement with the truth, for datasets whose items say what they are composed of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from tdattr.counterfactuals import Counterfactuals
from tdattr.data.truth import truth
from tdattr.ids import Ids
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Judged, Protocol, ProtocolSetup, Verdict
from tdattr.protocols.group_agreement import aggregate_scores, headline, judge
from tdattr.queries import Queries
from tdattr.ranges import Count
from tdattr.scores import Scores
from tdattr.seeding import generator
from tdattr.store import Plan
from tdattr.tables import DataFrame

TIE_BREAKS = 20  # random orders of tied groups that the ceiling averages over
DECIMALS = 12  # of a share; what is beyond them is rounding


@dataclass(frozen=True)
class AgreementWithTruth(Protocol):
    """The ``protocol=truth`` node. Scores of training items are aggregated per group first.

    A query owes nothing to most groups, but scores rank those groups too, which most measures punish. The ceiling shows
    what perfect scores can reach: the truth with its ties broken at random, a mean over ``TIE_BREAKS`` random orders.
    """

    code_version: ClassVar = 4  # a single query has no interval
    needs: ClassVar = frozenset({"groups"})
    judges_groups: ClassVar = True
    takes_controls: ClassVar = True

    name: str
    aggregate: AggregateConfig
    resamples: Count

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """The agreement by the measures that people are shown."""
        return headline(summary)

    def check(self, setup: ProtocolSetup) -> None:
        """The items must say what they are composed of. Raises UserError; nothing is trained for it."""
        truth(setup.items, setup.queries, setup.groups)

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """Nothing is trained or generated for it."""
        return ()

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Every measure of agreement with what each query is composed of."""
        groups = models.groups()
        gold = truth(models.items(), queries.items, list(groups)).round(DECIMALS)
        values = aggregate_scores(scores, groups, self.aggregate)
        return judge(
            gold, values, list(groups), self.resamples, [break_ties(gold, number) for number in range(TIE_BREAKS)]
        )


def break_ties(gold: Float[np.ndarray, "query group"], number: int) -> Float[np.ndarray, "query group"]:
    """Gold with its ties broken at random, and the same order otherwise."""
    smallest = np.diff(np.unique(gold)).min(initial=1.0)
    return gold + smallest / 2 * generator(number, "truth.ties").random(gold.shape)
