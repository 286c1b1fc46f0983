"""Journey-TRAK (Georgiev et al. 2023, arXiv 2312.06205), as D-TRAK's authors run it as a baseline.

TRAK whose query is not the generated item but the way to it: what the network took for the clean item at every step.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import Work
from tdattr.errors import UserError
from tdattr.methods import Context, MethodWork
from tdattr.methods.generation import count_evaluations, generate_again, given_queries
from tdattr.methods.gradient_features import plan_features, stack
from tdattr.methods.trak import Trak
from tdattr.progress import track
from tdattr.scoring.gradients import Gradients, items_together
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import project, spans
from tdattr.seeding import generator, normal
from tdattr.store import Plan


@dataclass(frozen=True)
class JourneyTrak(Trak):
    """A query's features are the mean over the steps of its generation of the gradient at the clean item that was
    predicted there, noised anew to the step's level. ``gradients.draws`` and ``levels`` are for the training items.
    """

    needs: ClassVar = frozenset({"generation"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.self:
            raise UserError("A training item has no journey, as it was not generated: leave out method.self.")

    def query_features(self, context: Context) -> Float[Tensor, "query feature"]:
        """Along the queries' own sampling paths."""
        return torch.from_numpy(stack(self.plan_queries(context), "queries' sampling paths")[:])

    def work(self, context: Context) -> MethodWork | None:
        """As TRAK, if the variant says how many steps there are."""
        return None if context.diffusion.count_evaluations() is None else super().work(context)

    def plan_queries(self, context: Context) -> list[Plan]:
        """The artifacts of ``query_features``."""
        about = {"queries": context.queries.address, "at": "path"}

        def compute(gradients: Gradients, rows: slice) -> Float[np.ndarray, "row feature"]:
            parts = []
            for span in spans(rows.stop - rows.start, items_together(gradients.size)):
                part = slice(rows.start + span.start, rows.start + span.stop)
                along, which = path_gradients(context, gradients, part), f"Projection of {part.start + 1}-{part.stop}"
                parts.append(project(along, gradients.config.projection, context.seed, which).cpu().numpy())
            return np.concatenate(parts)

        return plan_features(context, self.gradients, len(context.queries), about, compute, count_path(context))


def count_path(context: Context) -> Work:
    """What a query takes along its path: its generation again, and a gradient at every step."""
    return Work(evaluations=count_evaluations(context) or 0, gradients=context.diffusion.count_steps())


def path_gradients(context: Context, gradients: Gradients, rows: slice) -> Float[Tensor, "query parameter"]:
    """The mean over the path of the gradients of some queries, at the same noise for all of them at a step."""
    levels, clean = sampling_path(context, gradients, rows)
    rng = generator(context.seed, "journey.noise")
    given = given_queries(context, rows)
    total = torch.zeros(rows.stop - rows.start, gradients.size, device=context.device)
    steps = zip(levels, clean, strict=True)
    for level, x in track(steps, f"Gradients along paths of {rows.start + 1}-{rows.stop}", len(clean), nested=True):
        noise = NoiseSet(level[None], normal(rng, 1, *x.shape[1:])).to(context.device)
        total += replace(gradients, noise=noise).of(x, given) / len(levels)
    return total


def sampling_path(
    context: Context, gradients: Gradients, rows: slice
) -> tuple[Float[Tensor, " step"], list[Float[Tensor, "query *x"]]]:
    """The levels of the steps in which some queries were generated, and the clean items predicted at each; generated
    again, from the same noise."""
    levels: list[float] = []
    clean: list[Tensor] = []

    def watch(level: float, x: Tensor) -> None:
        levels.append(level)
        clean.append(x)

    with torch.no_grad():  # not in inference mode, whose tensors no gradient can be taken at
        generate_again(context, gradients.network, rows, watch)
    return torch.tensor(levels, dtype=torch.float32), clean
