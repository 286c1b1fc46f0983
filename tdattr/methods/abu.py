"""AbU: attribution by unlearning (Wang et al. 2024, arXiv 2406.09408).

One ascent step on the query in the geometry of the training set's Fisher information, then the difference of losses.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from tdattr.errors import UserError
from tdattr.methods import Context, Method, MethodSetup, Scored, Scorer
from tdattr.methods.ascend import ascend
from tdattr.methods.loss_shift import Shift, ShiftConfig, shift_scorer
from tdattr.ranges import Count, Positive
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.fisher import FisherConfig, diagonal_fisher, load_fisher, plan_rounds
from tdattr.store import share_out
from tdattr.unlearning.fisher_step import FisherStep


@dataclass(frozen=True)
class AbU(Method):
    """The ``method=abu`` node: θ2 = θ1 + rate / N · Fisher⁻¹ · the gradient of the query's loss over ``draws``."""

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

    def check(self, setup: MethodSetup) -> None:
        """The network must have the part that is changed."""
        setup.network.parameter_names(self.trainable)

    def start(self, context: Context) -> Scorer:
        """The Fisher information and F1's losses."""
        names = context.f1.load().parameter_names(self.trainable)
        config = {"epochs": self.fisher.epochs, "mirror": self.score.mirror, "trainable": self.trainable}
        sides = [False, True] if self.score.mirror else [False]
        views = [TrainingItems(context.data.train, context.ids, mirrored) for mirrored in sides]
        rounds = plan_rounds(
            context.f1.load,
            context.diffusion,
            views,
            names,
            self.fisher,
            context.seed,
            context.trainer.gradient_batch,
            lambda key, build: context.plan("fisher_round", 1, {"trainable": self.trainable, **key}, build),
        )

        def build(folder: Path) -> None:
            diagonal_fisher([part.get() for part in rounds], len(context.ids), folder)

        mean = context.plan("fisher", 2, config, build)
        if not mean.finished:
            share_out(rounds, "Fisher information")
        fisher = load_fisher(mean.get().folder, self.fisher.damping)
        information = [fisher[name] for name in names]
        return partial(self.score_query, context, information, shift_scorer(context, self.score))

    def score_query(self, context: Context, fisher: list[Tensor], score: Shift, query: int) -> Scored:
        """One step, then see how far the losses moved."""
        optimizer = partial(FisherStep, fisher=fisher, rate=self.rate / len(context.ids))
        batches = self.draws // self.batch_size
        network = ascend(context, query, self.trainable, optimizer, self.batch_size, 1, accumulate=batches)
        return Scored(score(network, query))
