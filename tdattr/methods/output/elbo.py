"""The evidence lower bound of a query, by which GUDA and LOGO score groups."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.methods import Context, MethodSetup
from tdattr.methods.group_elbo import choose_terms, plan_terms
from tdattr.methods.output import Output, differentiate
from tdattr.networks import Network
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.elbo import ElboConfig, ElboNoise, elbo_terms, kl_weights, noise_distance
from tdattr.scoring.projection import spans
from tdattr.store import Plan


@dataclass(frozen=True)
class ElboOutput(Output):
    """The ``output=elbo`` node: the sum of the KL terms of ``elbo``, in nats, at the noise that LOGO and GUDA have for
    the query. To first order, the scores of a group's items add up to what GUDA and LOGO measure of the group."""

    name: str
    elbo: ElboConfig

    def check(self, setup: MethodSetup) -> None:
        """Its terms must be levels of the variant."""
        self.elbo.terms(setup.diffusion)

    def count_evaluations(self, context: Context) -> int:
        """One for each term and draw; where terms are drawn by importance, so many at most."""
        return (self.elbo.importance or len(self.elbo.terms(context.diffusion))) * self.elbo.draws

    def parts(self, context: Context) -> list[Plan]:
        """Every term under F1, where terms are drawn by their size."""
        if self.elbo.importance is None:
            return []
        every_term = self.elbo.terms(context.diffusion)
        return plan_terms(context, replace(self.elbo, importance=None), every_term, [context.f1])

    def evaluate(self, context: Context, network: Network) -> Float[Tensor, "query direction"]:
        """The sums."""
        terms, weights = choose_terms(context, self.elbo)
        values = elbo_terms(
            context.diffusion,
            network,
            QueryItems(context.queries),
            self.elbo,
            terms,
            context.seed,
            context.trainer.scoring_batch,
            context.device,
            "Evidence lower bounds",
        )
        return (values * weights).sum(1, keepdim=True)

    def differentiate(self, context: Context, network: Network, query: int) -> Float[Tensor, "direction parameter"]:
        """That of the sum, ``trainer.gradient_batch`` cells at a time."""
        diffusion, device, draws = context.diffusion, context.device, self.elbo.draws
        terms, weights = choose_terms(context, self.elbo)
        levels = diffusion.discrete_levels(self.elbo.timesteps)
        weights = (weights * kl_weights(diffusion, levels, terms) / draws).repeat_interleave(draws)
        x, given = QueryItems(context.queries).take(np.array([query]))
        x, given = x.to(device), given.to(device)
        pairs = ElboNoise(levels[terms], terms, draws, context.seed, tuple(x.shape[1:]))
        total = torch.zeros(())
        for part in spans(len(pairs), context.trainer.gradient_batch):
            columns = np.arange(part.start, part.stop)
            level, noise = (value.to(x) for value in pairs.take(np.full(len(columns), query), columns))
            items = x.expand(len(columns), *x.shape[1:])
            cells = Batch(items, level, noise, given.repeat_interleave(len(columns)))
            total = total + differentiate(network, partial(add_up, diffusion, weights[part], cells))
        return total


def add_up(
    diffusion: Diffusion, weights: Float[Tensor, " cell"], cells: Batch, network: nn.Module
) -> Float[Tensor, "one"]:
    """The sum of squared distances of predicted and true noise, times their weights."""
    distances = noise_distance(diffusion, network, *cells.inputs)
    return (weights.to(distances.device) * distances).sum()[None]
