"""LOGO: leave one group out, retrain, and see how much less likely each query has become: GUDA's gold standard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK
from tdattr.counterfactuals import Trained
from tdattr.ids import NO_IDS
from tdattr.methods import Context, Method, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.group_elbo import differences, elbos, plan_elbos
from tdattr.ranges import Count, CountOrZero
from tdattr.scoring.elbo import ElboConfig


@dataclass(frozen=True)
class LOGO(Method):
    """Retrainings under ``repeats`` seeds, from the run's + ``first`` on; the scores are their mean."""

    needs: ClassVar = frozenset({"groups", "retraining"})
    scores_groups: ClassVar = True
    remedy: ClassVar = "lower train.learning_rate"

    name: str
    first: CountOrZero
    repeats: Count
    elbo: ElboConfig

    @property
    def seeds(self) -> range:
        """What it retrains under, counted from the run's seed."""
        return range(self.first, self.first + self.repeats)

    def check(self, setup: MethodSetup) -> None:
        """Its terms must be levels of the variant."""
        self.elbo.terms(setup.diffusion)

    def models(self, context: Context) -> list[list[Trained]]:
        """That of everything and those without each group, under every seed."""
        removals = [NO_IDS, *context.counterfactuals.groups().values()]
        return context.counterfactuals.train(removals, repeats=self.repeats, first=self.first)

    def without(self, context: Context) -> Mapping[str, Trained]:
        """Those under the first of its seeds."""
        _, *models = self.models(context)
        groups = context.counterfactuals.groups()
        return {name: by_seed[0] for name, by_seed in zip(groups, models, strict=True)}

    def work(self, context: Context) -> MethodWork:
        """The retrainings, and the bounds under each model."""
        models = self.models(context)
        needs = [
            plan
            for repeat in range(self.repeats)
            for plan in plan_elbos(context, self.elbo, [by_seed[repeat] for by_seed in models])
        ]
        return MethodWork(NO_WORK, needs=needs)

    def terms(self, context: Context) -> list[Float[Tensor, "model query term"]]:
        """For every seed, the KL terms of all queries under a model of everything and those without each group. Jobs
        share out the models of all seeds at once."""
        models = self.models(context)
        by_repeat = [model for repeat in range(self.repeats) for model in (by_seed[repeat] for by_seed in models)]
        return list(elbos(context, self.elbo, by_repeat).split(len(models)))

    def scores(self, context: Context) -> Float[Tensor, "query group"]:
        """Train without each group, and score all queries under each model."""
        return torch.stack([differences(terms) for terms in self.terms(context)]).mean(0)

    def start(self, context: Context) -> Scorer:
        """The scores of all queries."""
        scores = self.scores(context)
        folds = [context.count_steps(removed) for removed in context.counterfactuals.groups().values()]
        full = context.count_steps()
        steps = (full + sum(folds)) * self.repeats - full * (self.first == 0)  # F1 is there anyway
        facts = {"training_steps": float(steps)}
        return lambda query: Scored(scores[query], facts)
