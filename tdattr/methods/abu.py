"""AbU: attribution by unlearning (Wang et al. 2024, arXiv 2406.09408).

One ascent step on the query in the geometry of the training set's Fisher information, then the difference of losses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.ascend import ascend
from tdattr.methods.loss_shift import Shift, count_shift, shift_scorer
from tdattr.methods.shift_config import ShiftConfig, ShiftMethod
from tdattr.networks import Network
from tdattr.ranges import Count, Positive
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.fisher import FisherConfig, diagonal_fisher, load_fisher, plan_rounds
from tdattr.store import Build, Plan, share_out
from tdattr.unlearning.fisher_step import FisherStep


@dataclass(frozen=True)
class AbU(ShiftMethod):
    """The ``method=abu`` node: θ2 = θ1 + rate / N · Fisher⁻¹ · the gradient of the query's loss over ``draws``."""

    needs: ClassVar = frozenset({"losses"})
    remedy: ClassVar = "lower method.rate, or raise method.fisher.damping"

    name: str
    rate: Positive
    draws: Count
    batch_size: Count
    trainable: str
    fisher: FisherConfig
    score: ShiftConfig

    def __post_init__(self) -> None:
        if self.draws % self.batch_size:
            raise UserError(f"method.draws={self.draws} must be a multiple of method.batch_size={self.batch_size}.")

    def check_network(self, network: Network) -> None:
        """The network must have the part that is changed."""
        network.parameter_names(self.trainable)

    def work(self, context: Context) -> MethodWork:
        """The Fisher information, and for each query one step and the losses after it."""
        shift = count_shift(context, self.score)
        step = Work(steps=1, trained=self.draws)
        usual = None if shift.usual is None else step + shift.usual
        return MethodWork(step + shift.query, needs=[self.plan_fisher(context)[0], *shift.needs], usual=usual)

    def plan_fisher(self, context: Context) -> tuple[Plan, list[Plan]]:
        """The Fisher information, of both sides of the items where both are scored, and the rounds that it is the mean
        of."""
        config = {"epochs": self.fisher.epochs, "mirror": self.score.mirror, "trainable": self.trainable}
        sides = [False, True] if self.score.mirror else [False]
        views = [TrainingItems(context.data.train, context.ids, mirrored) for mirrored in sides]
        network = context.skeleton()
        names = network.parameter_names(self.trainable)
        values = 2 * NUMBER_BYTES * sum(network.get_parameter(name).numel() for name in names)  # they are sums
        one = Cost(Work(gradients=len(context.ids), bytes=values), context.f1.plans)

        def plan_round(key: Mapping[str, int], build: Build) -> Plan:
            plan = context.plan("fisher_round", 1, {"trainable": self.trainable, **key}, build)
            return plan.costing(lambda: one)

        rounds = plan_rounds(
            context.f1.load,
            context.diffusion,
            views,
            names,
            self.fisher,
            context.seed,
            context.trainer.gradient_batch,
            plan_round,
        )

        def build(folder: Path) -> None:
            diagonal_fisher([part.get() for part in rounds], len(context.ids), folder)

        mean = context.plan("fisher", 2, config, build)
        return mean.costing(lambda: Cost(Work(bytes=values), rounds)), rounds

    def start(self, context: Context) -> Scorer:
        """The Fisher information and F1's losses."""
        mean, rounds = self.plan_fisher(context)
        if not mean.finished:
            share_out(rounds, "Fisher information")
        fisher = load_fisher(mean.get().folder, self.fisher.damping)
        names = context.skeleton().parameter_names(self.trainable)
        information = [fisher[name] for name in names]
        return partial(self.score_query, context, information, shift_scorer(context, self.score))

    def score_query(self, context: Context, fisher: list[Tensor], score: Shift, query: int) -> Scored:
        """One step, then see how far the losses moved."""
        optimizer = partial(FisherStep, fisher=fisher, rate=self.rate / len(context.ids))
        batches = self.draws // self.batch_size
        network = ascend(context, query, self.trainable, optimizer, self.batch_size, 1, accumulate=batches)
        return score(network, query)
