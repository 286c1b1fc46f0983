"""TracIn along the training (Pruthi et al. 2020, arXiv 2002.08484), at the levels, noise, mirroring and dropped
conditions that it really drew; with gradients normalised, Diffusion-ReTrac (Xie et al. 2024, arXiv 2401.09031)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.metagradients.room import FEWER, check_room, count_segments
from tdattr.metagradients.state import find_weights
from tdattr.methods import Context, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.gradient_features import Differentiating, count_parameters, open_gradients
from tdattr.methods.kept_items import load_items, save_items
from tdattr.methods.output import count_weights
from tdattr.methods.repeated_training import REPLAY, Repeating, compare
from tdattr.ranges import Count
from tdattr.scoring.cells import QueryItems
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.store import Plan

if TYPE_CHECKING:  # Lightning takes seconds to import
    from tdattr.metagradients.segments import Segment
    from tdattr.training.batches import Batches

log = logging.getLogger(__name__)
FILE = "tracin.safetensors"


@dataclass(frozen=True)
class TracInTraining(Repeating, Differentiating):
    """The sum over the steps of rate / batch size · <∇L(query), ∇L(item)>, where the item is in the step's batch.

    Both gradients are at the weights of a checkpoint, without dropout: in the middle of one of ``checkpoints`` segments
    of the training, each of which takes those of all its steps. As many as there are steps give TracInIdeal.
    """

    name: str
    gradients: GradientConfig
    checkpoints: Count

    def __post_init__(self) -> None:
        if self.gradients.projection.kind != "none":
            raise UserError(f"{self.name} stores no gradients: leave method.gradients.projection.kind=none.")

    def check(self, setup: MethodSetup) -> None:
        """The training must be one that can be repeated, with a step for every checkpoint. Raises UserError."""
        super().check(setup)
        if self.checkpoints > (steps := setup.train.count_steps(setup.items)):
            raise UserError(f"The training of F1 has {steps} steps: set method.checkpoints to as many at most.")

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """The derivatives of all queries must fit; what they take is said. Raises UserError."""
        context = outline()
        if not self.plan(context).finished:
            numbers = count_parameters(context, self.gradients.parameters) * len(context.queries)
            needed = count_segments(count_weights(context), numbers)
            remedy = f"lower queries.attributed, {FEWER}"
            check_room(needed, context.device, root, remedy, "The way along the training of F1")

    def work(self, context: Context) -> MethodWork:
        """All queries at once."""
        return MethodWork(NO_WORK, needs=[self.plan(context)])

    def start(self, context: Context) -> Scorer:
        """The way through the training, for all queries."""
        scores, facts = load_items(self.plan(context).get().folder / FILE)
        for warning in self.warn(facts):
            log.warning(warning)
        scores = scores[:, torch.from_numpy(context.ids)]
        return lambda query: Scored(scores[query], facts)

    def plan(self, context: Context) -> Plan:
        """The scores of all items of the split."""
        build = partial(self.sum_up, context)
        return context.plan("tracin", 1, self.key(context), build).costing(lambda: self.cost(context))

    def key(self, context: Context) -> dict[str, Any]:
        """What the scores depend on, for addresses."""
        return describe(self.gradients) | {"checkpoints": self.checkpoints, "queries": context.queries.address}

    def cost(self, context: Context) -> Cost:
        """What the scores take."""
        steps, queries = context.count_steps(), len(context.queries)
        passes = steps * context.train.batch_size
        work = Work(
            steps=steps,
            trained=passes,
            gradients=passes + self.checkpoints * queries * self.gradients.draws,
            bytes=queries * len(context.data.train) * NUMBER_BYTES,
        )
        return Cost(work, context.f1.plans, self.name)

    def sum_up(self, context: Context, folder: Path) -> dict[str, Any]:
        """Write the scores of all items."""
        from tdattr.metagradients.segments import Segments
        from tdattr.methods.weighted_training import load_weights, open_training

        training, layout = open_training(context)
        network = context.initial()

        def term(segment: "Segment", state: Tensor) -> Float[Tensor, "query item"]:
            load_weights(network, layout, find_weights(state, "raw"))
            of_queries = open_gradients(context, network, self.gradients)
            of_items = replace(of_queries, config=self.of_items, unexplained={})
            directions = of_queries.of_items(QueryItems(context.queries), slice(0, len(context.queries)))
            return add_up(training.batches, segment, of_items, directions)

        zero = torch.zeros(len(context.queries), len(context.data.train), device=context.device)
        segments = Segments(training, layout, folder, self.checkpoints)
        scores, last = segments.sum("TracIn along the training of F1", zero, term)
        facts = {REPLAY: compare(layout, last, context.f1.load(), context.weights)}
        save_items(folder / FILE, scores, facts)
        return facts


def add_up(
    batches: "Batches", segment: "Segment", gradients: Gradients, directions: Float[Tensor, "query parameter"]
) -> Float[Tensor, "query item"]:
    """What the steps of a segment add to the scores of all items of the split. ``gradients``: of losses."""
    config = batches.config
    scores = directions.new_zeros(len(directions), len(batches.split))
    for step in range(*segment):
        batch = batches[step].to(directions.device)
        products = gradients.along(batch, directions)
        if batch.counts is not None:
            products *= batch.counts
        slots = torch.from_numpy(batches.slots(step)).to(directions.device)
        scores.index_add_(1, slots, products, alpha=config.learning_rate * config.rate(step) / len(batch))
    return scores
