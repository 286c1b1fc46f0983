"""A query generated once more, from its own seed: what methods share that look at how it came to be."""

from jaxtyping import Float
from torch import Tensor, nn

from tdattr.diffusion.samplers import Watch
from tdattr.methods import Context
from tdattr.networks import Given
from tdattr.queries import query_generator


def generate_again(
    context: Context, network: nn.Module, rows: slice, watch: Watch | None = None
) -> Float[Tensor, "query *x"]:
    """The x of some queries as a network makes them of their noise, with their conditions and guidance. The method must
    declare that it needs ``generation``."""
    queries = context.queries
    context.counterfactuals.require("generation")
    rngs = [query_generator(context.seed, number) for number in queries.numbers[rows]]
    shape, given = tuple(queries.x.shape[1:]), given_queries(context, rows)
    return context.diffusion.sample(network, rngs, shape, given, queries.guidance, watch=watch)


def given_queries(context: Context, rows: slice) -> Given:
    """What the network is told of some queries, on the context's device."""
    conditions = context.queries.conditions
    return Given(None if conditions is None else conditions[rows]).to(context.device)


def count_evaluations(context: Context) -> int | None:
    """How often the network is evaluated for a query, guidance and all; None: the variant does not say."""
    passes = context.diffusion.count_evaluations()
    guided = context.queries.guidance not in (None, 1.0) and context.queries.conditions is not None
    return None if passes is None else passes * (2 if guided else 1)
