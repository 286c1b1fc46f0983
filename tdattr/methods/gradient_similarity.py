"""TracIn at one checkpoint (Pruthi et al. 2020, arXiv 2002.08484) and its cosine.

With every draw's gradient normalised it has the correction of Diffusion-ReTrac (Xie et al. 2024, arXiv 2401.09031).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from tdattr.costs import NO_WORK
from tdattr.errors import UserError
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import (
    Differentiating,
    item_features,
    plan_item_features,
    plan_query_features,
    query_features,
)
from tdattr.methods.self_influence import score_itself
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class GradientSimilarity(Differentiating):
    """The inner product of the query's and the item's features, or their ``cosine``; with ``self`` that of every item's
    with itself."""

    added: ClassVar[Mapping[str, Any]] = {"self": False}

    name: str
    gradients: GradientConfig
    cosine: bool
    self: bool = False

    def __post_init__(self) -> None:
        if self.self and self.cosine:
            raise UserError("The cosine of every item's gradient with itself is 1: leave out method.self.")

    @property
    def scores_itself(self) -> bool:
        """See ``self``."""
        return self.self

    def work(self, context: Context) -> MethodWork:
        """The features of items and queries."""
        config = self.gradients
        queries = [] if self.self else plan_query_features(context, config)
        return MethodWork(NO_WORK, needs=[*plan_item_features(context, config), *queries])

    def start(self, context: Context) -> Scorer:
        """The features of the items."""
        items = torch.from_numpy(item_features(context, self.gradients)[:])
        if self.self:
            return lambda _: score_itself(context.ids, lambda rows, others: items[rows] @ items[others].T)
        queries = query_features(context, self.gradients)
        lengths = items.norm(dim=1).clamp(min=1e-30) if self.cosine else torch.ones(len(items))

        def score(query: int) -> Scored:
            vector = queries[query]
            return Scored(items @ (nn.functional.normalize(vector, dim=0) if self.cosine else vector) / lengths)

        return score
