"""Forward-INF: the mirrored influence hypothesis (Ko et al. 2024, arXiv 2402.08922) on a diffusion model.

A few plain ascent steps on the query, then the difference of every item's loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from tdattr.costs import Work
from tdattr.methods import Context, MethodWork, Scored, Scorer
from tdattr.methods.ascend import ascend
from tdattr.methods.loss_shift import Shift, count_shift, shift_scorer
from tdattr.methods.shift_config import ShiftConfig, ShiftMethod
from tdattr.networks import Network
from tdattr.ranges import Count, Positive
from tdattr.training.config import TrainConfig


@dataclass(frozen=True)
class ForwardINF(ShiftMethod):
    """The ``method=forward_inf`` node: ``steps`` of Adam on ``batch_size`` noisy copies of the query."""

    needs: ClassVar = frozenset({"losses"})
    remedy: ClassVar = "lower method.learning_rate"

    name: str
    steps: Count
    batch_size: Count
    learning_rate: Positive
    trainable: str
    score: ShiftConfig

    def compared(self, train: TrainConfig) -> Mapping[str, float]:
        """The learning rate."""
        return {"unlearning_rate": self.learning_rate}

    def check_network(self, network: Network) -> None:
        """The network must have the part that is changed."""
        network.parameter_names(self.trainable)

    def work(self, context: Context) -> MethodWork:
        """For each query the ascent, and the losses after it."""
        shift = count_shift(context, self.score)
        ascent = Work(steps=self.steps, trained=self.steps * self.batch_size)
        usual = None if shift.usual is None else ascent + shift.usual
        return MethodWork(ascent + shift.query, needs=shift.needs, usual=usual)

    def start(self, context: Context) -> Scorer:
        """F1's losses."""
        return partial(self.score_query, context, shift_scorer(context, self.score))

    def score_query(self, context: Context, score: Shift, query: int) -> Scored:
        """Ascend, then see how far the losses moved."""
        optimizer = partial(torch.optim.Adam, lr=self.learning_rate)
        return score(ascend(context, query, self.trainable, optimizer, self.batch_size, self.steps), query)
