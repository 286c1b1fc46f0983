"""SOURCE (Bae et al. 2024, arXiv 2405.12186): TracIn along the training, where what a step does goes on through the
curvature of the steps after it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.metagradients.note import read_note, write_note
from tdattr.metagradients.room import FEWER, check_room, count_segments
from tdattr.metagradients.state import Layout, parts
from tdattr.methods import Context, MethodSetup, MethodWork
from tdattr.methods.ekfac import check_double, check_layers, check_whole
from tdattr.methods.gradient_features import count_parameters, open_gradients
from tdattr.methods.kept_items import save_items
from tdattr.methods.output import count_weights
from tdattr.methods.repeated_training import REPLAY, compare
from tdattr.methods.tracin_training import FILE, TracInTraining, add_up
from tdattr.networks import Network
from tdattr.scoring.cells import QueryItems, TrainingItems
from tdattr.scoring.ekfac import Curvature, count_curvature, find_names, fit
from tdattr.store import Plan, provenance

if TYPE_CHECKING:  # Lightning takes seconds to import
    from tdattr.metagradients.segments import Segment
    from tdattr.metagradients.step import Step
    from tdattr.training.batches import Batches
    from tdattr.training.config import TrainConfig

WEIGHTS, SCALES = "weights", "scales"  # of a segment, beside its curvature
SOURCE = "The way along the training of F1 with its curvature"
DIRECTIONS, SCORES, DONE = "directions", "scores", "segments"  # of what an interrupted run left


@dataclass(frozen=True)
class Source(TracInTraining):
    """Within each of ``checkpoints`` segments the curvature H of the items' mean loss, by EK-FAC, and the items'
    gradients are taken to be those at its middle. With r the sum of its rates, a change of the weights shrinks over the
    segment to exp(-r (c H + decay)) of itself, and one that its own steps add to (1 - exp(-r (c H + decay))) /
    (r (c H + decay)), on average over them.

    The paper has gradient descent. AdamW divides by a deviation: c is what it multiplies gradients by, clipping
    included, the mean over a layer's weights, each weighted by its squared gradients; that of a weight holds for the
    bias beside it. The moving average is left out, and so is the curvature of parameters outside of linear layers and
    convolutions. Without curvature and with c = 1 it is TracIn along the training. Levels, noise, mirroring and dropped
    conditions are those that the training drew.
    """

    def __post_init__(self) -> None:
        check_whole(self.gradients, "source multiplies")

    def check_network(self, network: Network) -> None:
        """What is differentiated must have layers whose curvature EK-FAC knows. Raises UserError."""
        super().check_network(network)
        check_layers(network, network.parameter_names(self.gradients.parameters), self.name)

    def check(self, setup: MethodSetup) -> None:
        """The training must be one that can be repeated, with two steps for every checkpoint. Raises UserError."""
        if 2 * self.checkpoints > (steps := setup.train.count_steps(setup.items)):
            raise UserError(
                f"The training of F1 has {steps} steps, of which each checkpoint of source has two at least: set "
                f"method.checkpoints to {steps // 2} at most."
            )
        super().check(setup)

    def work(self, context: Context) -> MethodWork:
        """The curvature, and all queries at once."""
        return MethodWork(NO_WORK, needs=[self.plan_segments(context), self.plan(context)])

    def plan(self, context: Context) -> Plan:
        """The scores of all items of the split."""
        build = partial(self.sum_up, context)
        return context.plan("source", 1, self.key(context), build).costing(lambda: self.cost(context))

    def cost(self, context: Context) -> Cost:
        """The gradients of the steps' items, and once those of the queries."""
        queries = len(context.queries)
        passes = context.count_steps() * context.train.batch_size
        work = Work(
            gradients=passes + queries * self.gradients.draws, bytes=queries * len(context.data.train) * NUMBER_BYTES
        )
        return Cost(work, [*context.f1.plans, self.plan_segments(context)], self.name)

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """The curvature of all segments must fit onto the disk, and that of one into memory, beside the derivatives of
        the queries; what they take is said. Raises UserError."""
        context = outline()
        if self.plan(context).finished:
            return
        check_double(context.device, self.name)
        segments, network = self.plan_segments(context), context.skeleton()
        curvature = count_curvature(network, network.parameter_names(self.gradients.parameters))
        missing = 0 if segments.finished else self.checkpoints
        numbers = count_parameters(context, self.gradients.parameters) * len(context.queries)
        needed = count_segments(count_weights(context), numbers, curvature, missing)
        remedy = f"lower queries.attributed, method.checkpoints, {FEWER}"
        check_room(needed, context.device, root, remedy, SOURCE)

    def plan_segments(self, context: Context) -> Plan:
        """The weights in the middle of every segment, what AdamW multiplies gradients by there, and the curvature."""
        items = TrainingItems(context.data.train, context.ids)

        def build(folder: Path) -> dict[str, Any]:
            from tdattr.metagradients.segments import Segments
            from tdattr.metagradients.step import Step
            from tdattr.methods.weighted_training import load_weights, open_training

            training, layout = open_training(context)
            network, config = context.initial(), training.batches.config
            step = Step(training.network, layout, context.diffusion, config, context.seed)

            def look(segment: "Segment", state: Tensor) -> None:
                weights, _, second, _ = parts(state)
                scales = find_scales(layout, second, step.move(segment.checkpoint - 1).deviation(second))
                scales = scales * find_clipped(step, training.batches, segment.checkpoint, weights)
                load_weights(network, layout, weights)
                gradients = open_gradients(context, network, self.of_items)
                covered = replace(gradients, names=find_names(gradients, items), unexplained={})
                kept = {WEIGHTS: weights.cpu().clone(), SCALES: scales.cpu()}
                save_file(fit(covered, items, context.seed).tensors() | kept, folder / name_segment(segment))

            last = Segments(training, layout, folder, self.checkpoints).visit(
                "Curvature along the training of F1", look
            )
            return {REPLAY: compare(layout, last, context.f1.load(), context.weights)}

        def cost() -> Cost:
            steps = context.count_steps()
            work = Work(
                steps=steps,
                trained=steps * context.train.batch_size,
                gradients=2 * self.checkpoints * len(items) * self.gradients.draws,
                bytes=self.checkpoints * count_weights(context) * NUMBER_BYTES,
                unsized=True,
            )
            return Cost(work, context.f1.plans, self.name)

        key = describe(self.of_items) | {"checkpoints": self.checkpoints}
        return context.plan("source_segments", 2, key, build).costing(cost)

    def sum_up(self, context: Context, folder: Path) -> dict[str, Any]:
        """Write the scores of all items: from the last segment to the first, with the queries' derivatives carried
        back."""
        from tdattr.metagradients.segments import cut
        from tdattr.methods.weighted_training import load_weights, open_training

        kept = self.plan_segments(context).get()
        training, layout = open_training(context)
        config, network = training.batches.config, context.f1.load()
        of_queries = open_gradients(context, network, self.gradients)
        segments = cut(config.total_steps, self.checkpoints)
        if (found := read_note(folder, context.device)) is not None:
            directions, scores, done = found[0][DIRECTIONS], found[0][SCORES], found[1][DONE]
        else:
            directions = of_queries.of_items(QueryItems(context.queries), slice(0, len(context.queries)))
            scores, done = torch.zeros(len(directions), len(context.data.train), device=context.device), 0
        for number, segment in enumerate(segments[::-1][done:], done + 1):
            stored = load_file(kept.folder / name_segment(segment), device=str(context.device))
            load_weights(network, layout, stored.pop(WEIGHTS))
            of_items = replace(of_queries, config=self.of_items, unexplained={})
            scales = dict(zip(layout.names, stored.pop(SCALES).tolist(), strict=True))
            rates, curvature = sum_rates(config, segment), Curvature.of(stored, context.device)
            passing = Passing(curvature, scales, rates, config.weight_decay)
            steps = directions.clone()
            passing.multiply(of_items.by_name(steps), passing.add)
            scores += add_up(training.batches, segment, of_items, steps)
            passing.multiply(of_items.by_name(directions), passing.shrink)
            write_note(folder, {DIRECTIONS: directions, SCORES: scores}, **{DONE: number})
        facts = {REPLAY: provenance(kept)["facts"][REPLAY]}
        save_items(folder / FILE, scores, facts)
        return facts


@dataclass(frozen=True)
class Passing:
    """What a segment does to derivatives by the weights after it."""

    curvature: Curvature
    scales: dict[str, float]  # by the name of a parameter: what AdamW multiplies its gradients by
    rates: float
    decay: float

    def multiply(
        self, directions: dict[str, Float[Tensor, "row ..."]], factor: Callable[[float, Tensor], Tensor]
    ) -> None:
        """In place, by a factor of a parameter's scale and its curvature."""
        curved = self.curvature.multiply(directions, lambda name, values: factor(self.scales[name], values))
        for name in directions.keys() - curved:
            directions[name] *= factor(self.scales[name], directions[name].new_zeros(()))

    def add(self, scale: float, curvature: Tensor) -> Tensor:
        """Of what a step of rate 1 adds, on average over the segment's steps."""
        exponent = self.exponent(scale, curvature)
        return scale * torch.where(exponent > 0, -torch.expm1(-exponent) / exponent, 1.0)

    def shrink(self, scale: float, curvature: Tensor) -> Tensor:
        """Of what was there before it."""
        return torch.exp(-self.exponent(scale, curvature))

    def exponent(self, scale: float, curvature: Tensor) -> Tensor:
        """How much of the weights the segment takes off, as a continuous rate."""
        return self.rates * (scale * curvature + self.decay)


def find_scales(layout: Layout, second: Tensor, deviation: Tensor) -> Float[Tensor, " name"]:
    """What AdamW multiplies gradients by, of every parameter the mean over its weights, weighted by ``second``, the
    moment of their squares; of a parameter that has no gradient, the plain mean."""
    moments, factors = layout.split(second), layout.split(1 / deviation)
    weighted = [
        ((moments[name] * factors[name]).sum() / moments[name].sum()) if moments[name].any() else factors[name].mean()
        for name in layout.names
    ]
    return torch.stack(weighted)


def find_clipped(step: "Step", batches: "Batches", number: int, weights: Tensor) -> Float[Tensor, ""]:
    """What the gradient of the step of that number is multiplied by, so that it is no longer than ``train.clip``."""
    from tdattr.metagradients.step import read_counts

    if step.config.clip is None:
        return weights.new_ones(())
    batch = batches[number].to(weights.device)
    return step.clipped(step.gradient(weights, read_counts(batch, weights), step.embed(batch), number))


def sum_rates(config: "TrainConfig", segment: "Segment") -> float:
    """Of a segment's steps."""
    return config.learning_rate * sum(config.rate(step) for step in range(*segment))


def name_segment(segment: "Segment") -> str:
    """The file of a segment."""
    return f"step_{segment.checkpoint:08d}.safetensors"
