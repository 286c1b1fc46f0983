"""Random attribution: the reference of every evaluation."""

from dataclasses import dataclass

import torch

from tdattr.costs import NO_WORK
from tdattr.methods import Context, Method, MethodWork, Scored, Scorer
from tdattr.seeding import generator


@dataclass(frozen=True)
class Random(Method):
    """Uniform scores, independent for every query (MUCS §4)."""

    name: str

    def work(self, context: Context) -> MethodWork:
        """Random numbers are drawn."""
        return MethodWork(NO_WORK)

    def start(self, context: Context) -> Scorer:
        """Nothing is shared."""

        def score(query: int) -> Scored:
            draws = generator(context.seed, "method.random", query).random(len(context.ids))
            return Scored(torch.from_numpy(draws).float())

        return score
