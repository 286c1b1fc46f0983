"""Feature similarity: which training images a pretrained network finds most like the generated one (MUCS §4)."""

from dataclasses import dataclass

import torch

from tdattr.features import Extractor, training_vectors, unit_vectors
from tdattr.methods import Context, Method, Scored, Scorer


@dataclass(frozen=True)
class Features(Method):
    """Cosine of the vectors of ``extractor``: ``method=clip``, ``dino``, or ``features`` with any of them."""

    name: str
    extractor: Extractor

    def start(self, context: Context) -> Scorer:
        """The vectors of the training items, and those of the queries."""
        embed = self.extractor.load(context.setting)
        targets = torch.from_numpy(training_vectors(self.extractor, embed, context.setting)[context.ids])
        queries = unit_vectors(embed, context.queries.images, context.setting)
        return lambda query: Scored(targets @ queries[query])
