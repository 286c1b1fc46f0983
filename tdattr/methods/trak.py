"""TRAK (Park et al. 2023, arXiv 2303.14186) and D-TRAK (Zheng et al. 2024, arXiv 2311.00500) for diffusion models."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import (
    Damped,
    Damping,
    item_features,
    kernel,
    plan_item_features,
    plan_kernel,
    plan_query_features,
    query_features,
)
from tdattr.methods.self_influence import score_itself
from tdattr.ranges import Positive
from tdattr.scoring.gradients import GradientConfig
from tdattr.store import Plan


@dataclass(frozen=True)
class Trak(Damped):
    """φ(query) (ΦᵀΦ + damping I)⁻¹ Φᵀ; the methods differ in the output function of ``gradients``. With ``self`` every
    item is the query for itself: the scores are leverages."""

    code_version: ClassVar[int] = 2  # dampings in the published unit
    added: ClassVar[Mapping[str, Any]] = {"self": False}

    name: str
    gradients: GradientConfig
    damping: Damping
    grid: list[Positive]
    self: bool = False

    @property
    def scores_itself(self) -> bool:
        """See ``self``."""
        return self.self

    def work(self, context: Context) -> MethodWork | None:
        """The features of items and queries, and the kernel."""
        items, inverse = plan_item_features(context, self.gradients), plan_kernel(context, self.gradients, None)
        queries = [] if self.self else self.plan_queries(context)
        return MethodWork(NO_WORK, needs=[*items, inverse, *queries])

    def plan_queries(self, context: Context) -> list[Plan]:
        """The artifacts of ``query_features``."""
        return plan_query_features(context, self.gradients)

    def start(self, context: Context) -> Scorer:
        """The features of the items and their kernel."""
        items = item_features(context, self.gradients)
        queries = None if self.self else self.query_features(context)
        inverse = kernel(context, self.gradients, items)
        if queries is None:
            between = partial(inverse.between, damping=self.added_damping)
            return lambda _: score_itself(context.ids, between)
        return lambda query: Scored(self.damp(partial(inverse.scores, queries[query])))

    def query_features(self, context: Context) -> Float[Tensor, "query feature"]:
        """At the noise of the items."""
        return query_features(context, self.gradients)
