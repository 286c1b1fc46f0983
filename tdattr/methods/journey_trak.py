"""Journey-TRAK (Georgiev et al. 2023, arXiv 2312.06205), as D-TRAK's authors run it as a baseline.

TRAK whose query is not the generated item but the way to it: what the network took for the clean item at every step.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.methods import Context
from tdattr.methods.gradient_features import stack_features
from tdattr.methods.trak import Trak
from tdattr.networks import Given
from tdattr.queries import query_generator
from tdattr.scoring.gradients import Gradients, items_together
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import project, spans
from tdattr.seeding import generator, normal


@dataclass(frozen=True)
class JourneyTrak(Trak):
    """A query's features are the mean over the steps of its generation of the gradient at the clean item that was
    predicted there, noised anew to the step's level. ``gradients.draws`` and ``levels`` are for the training items.
    """

    def query_features(self, context: Context) -> Float[Tensor, "query feature"]:
        """Along the queries' own sampling paths."""
        about = {"queries": context.queries.address, "at": "path"}

        def compute(gradients: Gradients, rows: slice) -> Float[np.ndarray, "row feature"]:
            parts = []
            for span in spans(rows.stop - rows.start, items_together(gradients.size)):
                along = path_gradients(context, gradients, slice(rows.start + span.start, rows.start + span.stop))
                parts.append(project(along, gradients.config.projection, context.seed).cpu().numpy())
            return np.concatenate(parts)

        count, called = len(context.queries), "queries' sampling paths"
        found = stack_features(context, self.gradients, count, about, called, compute)
        return torch.from_numpy(found[:])


def path_gradients(context: Context, gradients: Gradients, rows: slice) -> Float[Tensor, "query parameter"]:
    """The mean over the path of the gradients of some queries, at the same noise for all of them at a step."""
    levels, clean = sampling_path(context, gradients, rows)
    rng = generator(context.seed, "journey.noise")
    given = given_queries(context, rows)
    total = torch.zeros(rows.stop - rows.start, gradients.size, device=context.device)
    for level, x in zip(levels, clean, strict=True):
        noise = NoiseSet(level[None], normal(rng, 1, *x.shape[1:])).to(context.device)
        total += replace(gradients, noise=noise).of(x, given) / len(levels)
    return total


def sampling_path(
    context: Context, gradients: Gradients, rows: slice
) -> tuple[Float[Tensor, " step"], list[Float[Tensor, "query *x"]]]:
    """The levels of the steps in which some queries were generated, and the clean items predicted at each; generated
    again, from the same noise."""
    queries = context.queries
    levels: list[float] = []
    clean: list[Tensor] = []

    def watch(level: float, x: Tensor) -> None:
        levels.append(level)
        clean.append(x)

    rngs = [query_generator(context.seed, queries.indices.start + row) for row in range(rows.start, rows.stop)]
    shape = tuple(queries.x.shape[1:])
    with torch.no_grad():  # not in inference mode, whose tensors no gradient can be taken at
        context.diffusion.sample(
            gradients.network, rngs, shape, given_queries(context, rows), queries.guidance, watch=watch
        )
    return torch.tensor(levels, dtype=torch.float32), clean


def given_queries(context: Context, rows: slice) -> Given:
    """What the network is told of some queries, on the context's device."""
    conditions = context.queries.conditions
    return Given(None if conditions is None else conditions[rows]).to(context.device)
