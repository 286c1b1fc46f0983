"""The training loss of a query, at noise that all queries share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tdattr.methods import Context
from tdattr.methods.gradient_features import noise_set, open_gradients, plan_query_features, query_features
from tdattr.methods.output import PART, Output
from tdattr.networks import Network
from tdattr.ranges import Count
from tdattr.scoring.cells import LossModel, QueryItems
from tdattr.scoring.gradients import GradientConfig
from tdattr.scoring.projection import ProjectionConfig
from tdattr.store import Plan


@dataclass(frozen=True)
class LossOutput(Output):
    """The ``output=loss`` node: a mean over ``draws`` pairs of noise and level, of which `GradientConfig` tells."""

    name: str
    draws: Count
    levels: Literal["generation", "discrete", "training"]

    @cached_property
    def gradients(self) -> GradientConfig:
        """What is differentiated, in the words of gradient methods."""
        return GradientConfig("loss", self.draws, self.levels, False, PART, ProjectionConfig("none", 8, 1))

    def count_evaluations(self, context: Context) -> int:
        """One for each draw."""
        return self.draws

    def evaluate(self, context: Context, network: Network) -> Float[Tensor, "query direction"]:
        """The losses."""
        model = LossModel(context.diffusion, network, context.device, context.trainer.scoring_batch)
        noise = noise_set(context, self.gradients)
        losses = model.table(QueryItems(context.queries), noise, description="Losses of the queries")
        return losses.double().mean(1, keepdim=True)

    def differentiate(self, context: Context, network: Network, query: int) -> Float[Tensor, "direction parameter"]:
        """That of the loss."""
        gradients = open_gradients(context, network, self.gradients)
        return gradients.of_items(QueryItems(context.queries), slice(query, query + 1))

    def plan(self, context: Context) -> list[Plan]:
        """Those of all queries, in blocks."""
        return plan_query_features(context, self.gradients)

    def load(self, context: Context) -> Float[Tensor, "output parameter"]:
        """As planned."""
        return query_features(context, self.gradients)
