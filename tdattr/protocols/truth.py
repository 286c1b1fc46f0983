"""Agreement with the truth, for datasets whose items say what they are composed of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tdattr.counterfactuals import Counterfactuals
from tdattr.data.truth import truth
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols import Protocol, ProtocolSetup, Verdict
from tdattr.protocols.group_agreement import aggregate_scores, check_resamples, judge
from tdattr.queries import Queries
from tdattr.scores import Scores
from tdattr.seeding import generator

TIES = 20
DECIMALS = 12  # beyond these, shares that are equal differ by rounding


@dataclass(frozen=True)
class AgreementWithTruth(Protocol):
    """The ``protocol=truth`` node. Scores of training items are aggregated per group first.

    A query owes nothing to most groups, and scores that rank those somehow lose by most measures. What perfect scores
    reach all the same is shown as the ceiling: the truth with its ties broken at random, a mean over ``TIES`` ways.
    """

    needs: ClassVar = frozenset({"groups"})
    judges_groups: ClassVar = True
    takes_controls: ClassVar = True

    name: str
    aggregate: AggregateConfig
    resamples: int

    def check(self, setup: ProtocolSetup) -> None:
        """The items must say what they are composed of. Raises UserError; nothing is trained for it."""
        check_resamples(self.resamples)
        truth(setup.items, setup.queries, setup.groups)

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Every measure of agreement with what each query is composed of."""
        groups = models.groups()
        gold = truth(models.items(), queries.items, list(groups)).round(DECIMALS)
        values = aggregate_scores(scores, groups, self.aggregate)
        return judge(gold, values, list(groups), self.resamples, [break_ties(gold, number) for number in range(TIES)])


def break_ties(gold: Float[np.ndarray, "query group"], number: int) -> Float[np.ndarray, "query group"]:
    """The same order, but for ties, which are broken at random."""
    smallest = np.diff(np.unique(gold)).min(initial=1.0)
    return gold + smallest / 2 * generator(number, "truth.ties").random(gold.shape)
