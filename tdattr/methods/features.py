"""Feature similarity: which training images a pretrained network finds most like the generated one (MUCS §4)."""

from dataclasses import dataclass

import torch

from tdattr.costs import NO_WORK, Work
from tdattr.features import Extractor, plan_vectors, training_vectors, unit_vectors
from tdattr.methods import Context, Method, MethodWork, Scored, Scorer


@dataclass(frozen=True)
class Features(Method):
    """Cosine of the vectors of ``extractor``: ``method=clip``, ``dino``, or ``features`` with any of them."""

    name: str
    extractor: Extractor

    @property
    def signed(self) -> bool:
        """A cosine."""
        return False

    def work(self, context: Context) -> MethodWork:
        """The vectors of the training items, and those of the queries."""
        needs = [*self.extractor.artifacts(context.setting), plan_vectors(self.extractor, None, context.setting)]
        return MethodWork(NO_WORK, Work(looks=len(context.queries)), needs)

    def start(self, context: Context) -> Scorer:
        """The vectors of the training items, and those of the queries."""
        embed = self.extractor.load(context.setting)
        targets = torch.from_numpy(training_vectors(self.extractor, embed, context.setting)[context.ids])
        queries = unit_vectors(embed, context.queries.images, context.setting)
        return lambda query: Scored(targets @ queries[query])
