"""Methods that go through the whole training of F1 and back, for the derivatives of the queries' outputs by the weight
of every training item (Engstrom et al. 2025, arXiv 2503.13751, by checkpoints of the training and replay)."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK, NUMBER_BYTES, Cost, Work
from tdattr.interim import ROWS
from tdattr.metagradients.describe import GROWTH, PREDICTION, SMOOTHNESS
from tdattr.metagradients.room import check_room, count_room
from tdattr.methods import Context, MethodSetup, MethodWork
from tdattr.methods.all_counted import fill
from tdattr.methods.kept_items import load_items, save_items
from tdattr.methods.output import PART, Output, count_weights
from tdattr.methods.repeated_training import REPLAY, Repeating, compare
from tdattr.methods.smoothness import SmoothnessConfig, measure_smoothness, plan_trainings
from tdattr.methods.step_room import count_back
from tdattr.networks import Network
from tdattr.ranges import Range
from tdattr.rows import Rows
from tdattr.store import Plan

log = logging.getLogger(__name__)
FILE = "metagradients.safetensors"
PASSES_BACK = 2  # a step back differentiates a gradient: twice the passes of the step


@dataclass(frozen=True)
class WayBack(Repeating):
    """A method whose scores are made of the derivatives of the queries' outputs by the items' weights w_i, where w_i
    multiplies the loss of item i wherever a batch has it.

    ``removal``: what a training without an item has in its places. ``empty``: nothing, as the weight 0 has it.
    ``replaced``: others of the items, whose weights then grow by as much as the item's falls. ``most_growth`` and
    ``smoothness``: beyond what a run warns that its training is not smooth in its data.
    """

    for_pictures: ClassVar[str] = "leave output@method.output=loss, or choose elbo"
    remedy: ClassVar[str] = "raise train.epsilon or lower train.learning_rate: the training is not smooth in its data"

    name: str
    output: Output
    removal: Literal["replaced", "empty"]
    most_growth: Annotated[float, Range(above=0)]
    smoothness: SmoothnessConfig | None

    @property
    def counted(self) -> float:
        """What every item counts in the training that is differentiated; 1: that of F1."""
        return 1.0

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
        """The training must be one that can be repeated, and the output must suit the variant; where retrainings take
        other items in other places than F1's it is said. Raises UserError."""
        super().check(setup)
        self.output.check(setup)
        if not setup.train.coupled:
            log.warning(
                "method=%s says what trainings in the order and with the noise of F1 do, and with train.coupled=false "
                "retrainings have others: set train.coupled=true.",
                self.name,
            )

    def substitute(self, context: Context, blank: bool = False) -> Context:
        """With what is differentiated in place of F1's training and of the queries; ``blank``: of the right size, but
        not read."""
        return context

    def fit(self, context: Context, weights: int) -> int:
        """How many outputs go back together, of a network of so many trained weights; all of them."""
        return len(context.queries) * self.output.size

    def check_room(self, outline: Callable[[], Context], root: Path) -> None:
        """The way back must fit, unless it is there; what it takes is said. Raises UserError."""
        context = self.substitute(outline(), blank=True)
        if not self.plan(context, None).finished:
            self.check_way(context, count_weights(context), root)

    def check_way(self, context: Context, weights: int, root: Path) -> None:
        """The same, of a network of so many trained weights."""
        outputs = self.fit(context, weights)
        room = count_room(
            weights, len(context.data.train), context.count_steps(), outputs, count_back(context, outputs)
        )
        check_room(room, context.device, root, f"lower {self.output.counts}, trainer.metagradient_batch")

    def work(self, context: Context) -> MethodWork:
        """All queries at once, and the trainings that tell how smooth F1's is."""
        trainings = []
        context = self.substitute(context, blank=True)
        if self.smoothness is not None:
            trainings = plan_trainings(context, self.smoothness, self.output, self.counted)
        return MethodWork(NO_WORK, needs=[self.plan(context, None), *trainings])

    def derive(self, context: Context) -> tuple[Float[Tensor, "value item"], dict[str, float]]:
        """The derivatives of the queries' outputs by the weights of the items that F1 sees, where others replace those
        that are removed less their mean, and facts about them."""
        outputs = None if self.plan(context, None).finished else self.output.load(context)
        folder = self.plan(context, outputs).get().folder
        values, facts = load_items(folder / FILE)
        derivatives = values[:, torch.from_numpy(context.ids)]
        if self.smoothness is not None:
            facts |= measure_smoothness(context, self.smoothness, self.output, self.counted, derivatives)
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
                "does a step further, so that it cannot be attributed so: raise train.epsilon or train.batch_size."
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
        from tdattr.metagradients.same_step import check_same_step
        from tdattr.metagradients.step import Step
        from tdattr.metagradients.trajectory import Trajectory
        from tdattr.methods.weighted_training import open_training

        training, layout = open_training(context, None if self.counted == 1 else fill(context, self.counted))
        if tuple(training.network.parameter_names(PART)) != layout.names:
            raise TypeError(f"{type(training.network).__name__} trains other parameters than it has in its part all")
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        f1 = context.f1.load()
        check_same_step(training, step, layout, f1)
        trajectory = Trajectory(training, layout, folder)
        last = trajectory.train("Repeating the training of F1")
        difference = compare(layout, last, f1, context.weights)
        items, count = len(context.data.train), len(outputs)
        fitting = self.fit(context, layout.size)
        rows = Rows(folder, f"{ROWS}_back", count)
        while rows.done < count:
            part = slice(rows.done, min(rows.done + fitting, count))
            end = begin_at_end(outputs[part].to(context.device), items, context.weights)
            begin = trajectory.go_back(step, end, context.trainer.metagradient_batch, rows.done)
            growth = begin.longest.cpu() / outputs[part].norm(dim=1).cpu()
            rows.write(items=begin.items.cpu().numpy(), growth=growth.numpy())
        facts = {GROWTH: float(rows.arrays["growth"].max())}
        if self.counted == 1:  # another training is no repetition of F1's
            facts[REPLAY] = difference
        save_items(folder / FILE, torch.from_numpy(np.array(rows.arrays["items"])), facts)
        return facts
