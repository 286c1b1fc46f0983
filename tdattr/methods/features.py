"""Feature similarity: which training images a pretrained network finds most like the generated one (MUCS §4)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.features import training_vectors, unit_vectors
from tdattr.methods import Context, Scored, Scorer


@dataclass(frozen=True)
class Features:
    """Cosine of the vectors of ``extractor``: ``method=clip``, ``dino``, or ``features`` with any of them."""

    name: str
    extractor: Any  # an Extractor

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """It serves every network and dataset."""

    def start(self, context: Context) -> Scorer:
        """The vectors of the training items, and those of the queries."""
        embed = self.extractor.load(context.setting)
        targets = torch.from_numpy(training_vectors(self.extractor, embed, context.setting)[context.ids])
        queries = unit_vectors(embed, context.images, context.setting)
        return lambda query: Scored(targets @ queries[query])
