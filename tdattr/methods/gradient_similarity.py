"""TracIn at one checkpoint (Pruthi et al. 2020, arXiv 2002.08484) and its cosine.

With every draw's gradient normalised it has the correction of Diffusion-ReTrac (Xie et al. 2024, arXiv 2401.09031).
"""

from dataclasses import dataclass

import torch
from torch import nn

from tdattr.costs import NO_WORK
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import (
    Differentiating,
    item_features,
    plan_item_features,
    plan_query_features,
    query_features,
)
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class GradientSimilarity(Differentiating):
    """The inner product of the query's and the item's features, or their ``cosine``."""

    name: str
    gradients: GradientConfig
    cosine: bool

    def work(self, context: Context) -> MethodWork:
        """The features of items and queries."""
        config = self.gradients
        return MethodWork(NO_WORK, needs=[*plan_item_features(context, config), *plan_query_features(context, config)])

    def start(self, context: Context) -> Scorer:
        """The features of the items."""
        items = torch.from_numpy(item_features(context, self.gradients)[:])
        queries = query_features(context, self.gradients)
        lengths = items.norm(dim=1).clamp(min=1e-30) if self.cosine else torch.ones(len(items))

        def score(query: int) -> Scored:
            vector = queries[query]
            return Scored(items @ (nn.functional.normalize(vector, dim=0) if self.cosine else vector) / lengths)

        return score
