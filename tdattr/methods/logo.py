"""LOGO: leave one group out, retrain, and see how much less likely each query has become: GUDA's gold standard."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.group_elbo import differences, elbos
from tdattr.scoring.elbo import ElboConfig


@dataclass(frozen=True)
class LOGO:
    """Retrainings under ``repeats`` seeds, from the run's + ``first`` on; the scores are their mean."""

    scores_groups: ClassVar = True
    retrains: ClassVar = True

    name: str
    first: int
    repeats: int
    elbo: ElboConfig

    def __post_init__(self) -> None:
        if self.first < 0 or self.repeats < 1:
            raise UserError("method=logo needs first of at least 0 and repeats of at least 1.")

    @property
    def seeds(self) -> range:
        """What it retrains under, counted from the run's seed."""
        return range(self.first, self.first + self.repeats)

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """Serves every network."""

    def prepare(self, context: Context) -> None:
        """Everything that takes long."""
        self.scores(context)

    def terms(self, context: Context) -> list[Float[Tensor, "model query term"]]:
        """For every seed, the KL terms of all queries under a model of everything and those without each group."""
        removals = [np.array([], dtype=np.int64), *context.groups().values()]
        models = context.retrained(removals, self.first, self.repeats)
        return [elbos(context, self.elbo, [each[r] for each in models]) for r in range(self.repeats)]

    def scores(self, context: Context) -> Float[Tensor, "query group"]:
        """Train without each group, and score all queries under each model."""
        return torch.stack([differences(terms) for terms in self.terms(context)]).mean(0)

    def start(self, context: Context) -> Scorer:
        """The scores of all queries."""
        scores = self.scores(context)
        trainings = (1 + len(context.groups())) * self.repeats - (self.first == 0)  # F1 is there anyway
        facts = {"training_steps": float(trainings * context.train.steps)}
        return lambda query: Scored(scores[query], facts)
