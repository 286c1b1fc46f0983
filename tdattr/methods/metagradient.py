"""Metagradients: the derivative of a query's loss by the weight of every training item, through the whole training.

MAGIC (Ilyas & Engstrom 2025, arXiv 2504.16430) for language models; the derivative is that of Engstrom et al. 2025
(arXiv 2503.13751), by checkpoints of the training and replay.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.interim import ROWS
from tdattr.metagradients.describe import GROWTH, PREDICTION, SMOOTHNESS
from tdattr.metagradients.room import Room, check_room, count_room, fit_queries
from tdattr.methods import Context, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.all_counted import count_all, fill
from tdattr.methods.kept_items import load_items, save_items
from tdattr.methods.output import PART, Output, count_weights
from tdattr.methods.repeated_training import REPLAY, Repeating, compare
from tdattr.methods.self_influence import ask_items, score_itself
from tdattr.methods.smoothness import SmoothnessConfig, measure_smoothness, plan_trainings
from tdattr.networks import Network
from tdattr.ranges import Range
from tdattr.rows import Rows
from tdattr.store import Plan

log = logging.getLogger(__name__)
FILE = "metagradients.safetensors"
PASSES_BACK = 2  # a step back differentiates a gradient: twice the passes of the step


@dataclass(frozen=True)
class Metagradient(Repeating):
    """The scores of items for a query are made of its output's derivatives by their weights w_i, where w_i multiplies
    the loss of the item wherever a batch has it: with ``output=loss`` they are -dL/dw_i of its training loss L.

    ``removal``: what a training without the item has in its places. ``empty``: nothing, as the weight 0 has it.
    ``replaced``: others of the items, whose weights then grow by as much as the item's falls. To first order, a loss
    rises by n / (n - k) times the sum of the scores of those k of n items that are replaced.

    ``self``: every item is a query, as many at a time as there is memory for. ``weight``: what every item counts in the
    training that is differentiated; 1: that of F1.
    """

    added: ClassVar[Mapping[str, Any]] = {"self": False, "weight": 1.0}
    for_pictures: ClassVar[str] = "leave output@method.output=loss, or choose elbo"
    remedy: ClassVar[str] = "raise train.epsilon or lower train.learning_rate: the training is not smooth in its data"

    name: str
    output: Output
    removal: Literal["replaced", "empty"]
    most_growth: Annotated[float, Range(above=0)]
    smoothness: SmoothnessConfig | None
    self: bool = False
    weight: Annotated[float, Range(above=0, most=1)] = 1.0

    def __post_init__(self) -> None:
        if self.weight != 1 and self.removal == "replaced":
            raise UserError(
                f"method.weight={self.weight} is for trainings without some items that leave their places empty, so "
                "that less counts in them: set train.removal=empty."
            )
        if self.self and self.output.needs:
            raise UserError(
                "method.self=true asks training items, which were not generated: leave output@method.output=loss, or "
                "choose elbo."
            )

    @property
    def scores_itself(self) -> bool:
        """See ``self``."""
        return self.self

    @property
    def needs(self) -> frozenset[str]:
        """What the output needs."""
        return self.output.needs

    @property
    def signed(self) -> bool:
        """As the output is."""
        return self.output.signed

    def check_network(self, network: Network) -> None:
        """What a training changes must be its parameters alone. Raises UserError."""
        network.parameter_names(PART)
        super().check_network(network)

    def check(self, setup: MethodSetup) -> None:
        """The training must be one that can be repeated, and the output must suit the variant. Raises UserError."""
        super().check(setup)
        self.output.check(setup)

    def place(self, context: Context, blank: bool = False) -> Context:
        """With the training that is differentiated in place of F1's, and of the queries what is asked; ``blank``: see
        ``ask_items``."""
        context = count_all(context, self.weight)
        return ask_items(context, blank) if self.self else context

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """The way back must fit, unless it is there; what it takes is said. Raises UserError."""
        context = self.place(outline(), blank=True)
        if self.plan(context, None).finished:
            return
        weights, items = count_weights(context), len(context.data.train)
        steps, queries = context.count_steps(), len(context.queries) * self.output.size
        if not self.self:
            room = count_room(weights, items, steps, queries)
            check_room(room, context.device, root, f"lower {self.output.counts}")
            return
        together = fit_queries(weights, items, steps, queries, context.device)
        log.info(
            "Self-influence goes back for each of the %d items, %d at a time: the work of at most %d trainings.",
            queries, together, PASSES_BACK * queries + math.ceil(queries / together),
        )  # fmt: skip
        needed, kept = count_room(weights, items, steps, together), queries * NUMBER_BYTES
        needed = Room(needed.memory + kept * weights, needed.disk + kept * (weights + 2 * items))
        check_room(needed, context.device, root, "leave items out with remove.groups")

    def work(self, context: Context) -> MethodWork:
        """All queries at once, and the trainings that tell how smooth F1's is."""
        trainings = []
        context = self.place(context, blank=True)
        if self.smoothness is not None:
            trainings = plan_trainings(context, self.smoothness, self.output, self.weight)
        return MethodWork(NO_WORK, needs=[self.plan(context, None), *trainings])

    def start(self, context: Context) -> Scorer:
        """The way through the training and back, for all queries."""
        context = self.place(context)
        derivatives, facts = self.derive(context)
        scores = self.output.score(derivatives.unflatten(0, (-1, self.output.size)))
        if self.self:
            return lambda _: replace(score_itself(context.ids, lambda some, others: scores[some, others]), facts=facts)
        return lambda query: Scored(scores[query], facts)

    def derive(self, context: Context) -> tuple[Float[Tensor, "value item"], dict[str, float]]:
        """The derivatives of the queries' outputs by the weights of the items that F1 sees, and facts about them."""
        outputs = self.output.load(context)
        folder = self.plan(context, outputs).get().folder
        values, facts = load_items(folder / FILE)
        derivatives = values[:, torch.from_numpy(context.ids)]
        if self.smoothness is not None:
            facts |= measure_smoothness(context, self.smoothness, self.output, self.weight, derivatives)
        for warning in self.warn(facts):
            log.warning(warning)
        if self.removal == "replaced":
            derivatives = derivatives - derivatives.mean(1, keepdim=True)
        return derivatives, facts

    def warn(self, facts: Mapping[str, float]) -> list[str]:
        """Where the training could not be repeated, or is not smooth in its data."""
        warnings, growth = super().warn(facts), facts[GROWTH]
        if not growth <= self.most_growth:  # NaN is warned of too
            warnings.append(
                "The training of F1 is not smooth in its data: a change of the network's weights during it changes the "
                f"queries' outputs up to {growth:.2g} times as much as one of the trained weights, so that it cannot "
                "be attributed so: raise train.epsilon, lower train.learning_rate or train.steps, or choose a network "
                "that learns without a plateau."
            )
        measured = {name: facts[name] for name in (SMOOTHNESS, PREDICTION) if name in facts}
        if self.smoothness is not None and not all(value >= self.smoothness.least for value in measured.values()):
            said = ", ".join(f"{name} {value:.2f}" for name, value in measured.items())
            warnings.append(
                f"The training of F1 is not smooth enough in its data ({said}, of 1) that its derivatives say what it "
                "does a step further, so that it cannot be attributed so: raise train.epsilon, train.batch_size or "
                "train.ema."
            )
        return warnings

    def plan(self, context: Context, outputs: Float[Tensor, "output parameter"] | None) -> Plan:
        """The derivatives; ``outputs``: those of the queries' outputs by F1's weights, None where nothing is built."""

        def build(folder: Path) -> dict[str, Any]:
            assert outputs is not None
            return self.differentiate(context, outputs, folder)

        def cost() -> Cost:
            steps, batch = context.count_steps(), context.train.batch_size
            count = len(context.queries) * self.output.size
            work = Work(
                steps=2 * steps,
                trained=2 * steps * batch,
                gradients=PASSES_BACK * steps * batch * count,
                bytes=count * len(context.data.train) * NUMBER_BYTES,
            )
            return Cost(work, [*context.f1.plans, *self.output.plan(context)], self.name)

        key = self.output.describe() | {"queries": context.queries.address}
        return context.plan("metagradients", 3, key, build).costing(cost)

    def differentiate(
        self, context: Context, outputs: Float[Tensor, "output parameter"], folder: Path
    ) -> dict[str, Any]:
        """Write the derivatives of the outputs by the weights of all items of the split."""
        # Lightning takes seconds to import
        from tdattr.metagradients.backward import begin_at_end
        from tdattr.metagradients.step import Step
        from tdattr.metagradients.trajectory import Trajectory
        from tdattr.methods.weighted_training import open_training

        training, layout = open_training(context, None if self.weight == 1 else fill(context, self.weight))
        if tuple(training.network.parameter_names(PART)) != layout.names:
            raise TypeError(f"{type(training.network).__name__} trains other parameters than it has in its part all")
        trajectory = Trajectory(training, layout, folder)
        last = trajectory.train("Repeating the training of F1")
        difference = compare(layout, last, context.f1.load(), context.weights)
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        items, count = len(context.data.train), len(outputs)
        fitting = fit_queries(layout.size, items, trajectory.steps, count, context.device) if self.self else count
        together = max(1, context.trainer.metagradient_batch // context.train.batch_size)
        rows = Rows(folder, f"{ROWS}_back", count)
        while rows.done < count:
            part = slice(rows.done, min(rows.done + fitting, count))
            end = begin_at_end(outputs[part].to(context.device), items, context.weights)
            begin = trajectory.go_back(step, end, together, rows.done)
            growth = begin.longest.cpu() / outputs[part].norm(dim=1).cpu()
            rows.write(items=begin.items.cpu().numpy(), growth=growth.numpy())
        facts = {REPLAY: difference, GROWTH: float(rows.arrays["growth"].max())}
        save_items(folder / FILE, torch.from_numpy(np.array(rows.arrays["items"])), facts)
        return facts
