"""Mean feature similarity of a query to a group's reference images (GUDA's baseline)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tdattr.costs import NO_WORK, Work
from tdattr.features import Extractor, plan_vectors, training_vectors, unit_vectors
from tdattr.methods import Context, Method, MethodWork, Scored, Scorer
from tdattr.ranges import Count


@dataclass(frozen=True)
class GroupSimilarity(Method):
    """The mean cosine to the first ``images`` items of each group; None: all of them."""

    needs: ClassVar = frozenset({"groups"})
    scores_groups: ClassVar = True

    name: str
    extractor: Extractor
    images: Count | None

    @property
    def signed(self) -> bool:
        """A mean of cosines."""
        return False

    def work(self, context: Context) -> MethodWork:
        """The vectors of the training items, and those of the queries."""
        needs = [*self.extractor.artifacts(context.setting), plan_vectors(self.extractor, None, context.setting)]
        return MethodWork(NO_WORK, Work(looks=len(context.queries)), needs)

    def start(self, context: Context) -> Scorer:
        """The mean vector of every group, and the vectors of the queries."""
        embed = self.extractor.load(context.setting)
        items = training_vectors(self.extractor, embed, context.setting)
        groups = [np.array(items[ids[: self.images]]).mean(0) for ids in context.counterfactuals.groups().values()]
        scores = unit_vectors(embed, context.queries.images, context.setting) @ torch.from_numpy(np.stack(groups)).T
        return lambda query: Scored(scores[query])
