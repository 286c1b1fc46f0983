"""Removal by losses: remove what a method names, retrain, and see how much worse the queries are denoised.

As leave-k-out (MUCS §4) without images that are generated again, so that pictures of unknown origin can be checked too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from tdattr.counterfactuals import Counterfactuals, Trained, Undecided
from tdattr.errors import UserError
from tdattr.ids import NO_IDS, Ids
from tdattr.metrics.agreement import estimate
from tdattr.protocols import Judged, Verdict, name_interval
from tdattr.protocols.top_removal import TopRemoval
from tdattr.queries import Queries
from tdattr.ranges import Count
from tdattr.scores import Scores
from tdattr.seeding import generator
from tdattr.store import Plan
from tdattr.tables import DataFrame
from tdattr.wording import counted, tell_interval


@dataclass(frozen=True)
class RemovalLoss(TopRemoval):
    """The ``protocol=removal_loss`` node. ``randoms``: removals of as many random items; ``draws``: of level and noise,
    the same for all models and queries."""

    code_version: ClassVar = 2  # a single query has no interval
    needs: ClassVar = frozenset({"retraining"})

    randoms: Count
    draws: Count
    resamples: Count

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """How much more the loss rises than by random removals, in percent."""
        return name_interval("loss_rise", summary["excess_percent"])

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """The losses under F1 and under every retrained model. What these leave out, scores decide: at least the k
        items of one query."""
        if scores.scores is not None:
            return models.plan_query_losses(self.train(scores.scores, models), self.draws)
        k = self.removed_per_query(len(items))
        removals = [
            Undecided(f"{scores.address}/{k}{random}", k)
            for random in ("", *(f"/random {number}" for number in range(self.randoms)))
        ]
        return models.plan_query_losses([model for (model,) in models.train([NO_IDS, *removals])], self.draws)

    def train(self, scores: Scores, models: Counterfactuals) -> list[Trained]:
        """F1, the model without what is named, and those without random items; nothing is trained yet."""
        removed = np.unique(scores.top(self.removed_per_query(len(scores.ids))))
        if len(removed) == len(scores.ids):
            raise UserError("The top-k sets together are the whole training set: lower protocol.k or explain fewer.")
        randoms = [self.draw(scores.ids, len(removed), models.seed, number) for number in range(self.randoms)]
        return [model for (model,) in models.train([NO_IDS, removed, *randoms])]

    def draw(self, ids: Ids, count: int, seed: int, number: int) -> Ids:
        """The items of a random removal."""
        return np.sort(generator(seed, "removal_loss", number).choice(ids, count, replace=False))

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """The rise of every query's loss, beside its mean rise after random removals, in percent of its loss."""
        k = self.removed_per_query(len(scores.ids))
        losses = models.query_losses(self.train(scores, models), self.draws)
        original, named, randoms = losses[0], losses[1], losses[2:]
        rise = in_percent(named, original)
        random_rises = np.stack([in_percent(each, original) for each in randoms])
        excess = rise - random_rises.mean(0)
        rows = [
            {
                "query": query,
                "label": label,
                "loss": float(original[query]),
                "rise_percent": float(rise[query]),
                "random_rise_percent": float(random_rises[:, query].mean()),
                "random_rise_most_percent": float(random_rises[:, query].max()),
            }
            for query, label in enumerate(queries.labels)
        ]
        more = estimate(excess, self.resamples)
        most, removed = int((rise > random_rises.max(0)).sum()), len(np.unique(scores.top(k)))
        line = (
            f"without the {counted(removed, 'item')} it names the loss rises by {rise.mean():+.2f} %, without random "
            f"ones by {random_rises.mean():+.2f} %: {more['mean']:+.2f} "
            f"({tell_interval(more['low'], more['high'], '+.2f')}) points more, and more than after any of "
            f"{counted(self.randoms, 'random removal')} for {most} of {counted(len(rise), 'query')}"
        )
        summary = {
            "k": k,
            "removed": removed,
            "rise_percent": float(rise.mean()),
            "random_rise_percent": float(random_rises.mean()),
            "excess_percent": more,
            "above_all_random": most / len(rise),
        }
        return Verdict(summary, rows, f"k = {k}", lines=[line])


def in_percent(after: Float[np.ndarray, " query"], before: Float[np.ndarray, " query"]) -> Float[np.ndarray, " query"]:
    """How much larger losses are, in percent."""
    return 100 * (after / before - 1)
