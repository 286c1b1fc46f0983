"""How far a query's image changes when it is generated again by a model trained without a group (GUDA's baseline)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from tdattr.costs import NO_WORK, Work
from tdattr.methods import Context, Method, MethodWork, Scored, Scorer
from tdattr.metrics.similarity import Measure


@dataclass(frozen=True)
class LOGOImages(Method):
    """1 - the similarity of the image and the one of the same seed and condition, by ``measure``."""

    code_version: ClassVar = 2  # similarities are rounded to the measure's decimals
    needs: ClassVar = frozenset({"groups", "retraining", "generation"})
    scores_groups: ClassVar = True

    name: str
    measure: Measure

    def work(self, context: Context) -> MethodWork:
        """The retrainings and what they generate."""
        removals = list(context.counterfactuals.groups().values())
        needs = [*context.counterfactuals.plan_regenerated(removals), *self.measure.artifacts(context.setting)]
        return MethodWork(NO_WORK, Work(looks=2 * len(removals) * len(context.queries)), needs)

    def start(self, context: Context) -> Scorer:
        """Train without each group, generate the queries again, and compare."""
        compare = self.measure.load_rounded(context.setting)
        removals = list(context.counterfactuals.groups().values())
        columns = [
            1 - compare(context.queries.images, generated.images[context.queries.indices])
            for generated in context.counterfactuals.regenerate(removals)
        ]
        scores = torch.stack(columns, dim=1)
        facts = {"training_steps": float(sum(context.count_steps(removed) for removed in removals))}
        return lambda query: Scored(scores[query], facts)
