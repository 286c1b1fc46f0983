"""Weights of the retained items while MUCS unlearns, from their similarity to the query."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node
from tdattr.features import Extractor, training_vectors, unit_vectors
from tdattr.methods import Context


@dataclass(frozen=True)
class InstanceWeights(Node):
    """exp(sharpness · cosine); above 0 what is like the query is retained harder, below 0 less.

    The authors' code has such weights from DINO's similarity; their formula is not in the paper, this one is ours.
    """

    extractor: Extractor
    sharpness: float

    def similarities(self, context: Context) -> Float[Tensor, "query item"]:
        """The cosine of each query and each item of the training split."""
        embed = self.extractor.load(context.setting)
        items = torch.from_numpy(np.array(training_vectors(self.extractor, embed, context.setting)))
        return unit_vectors(embed, context.queries.images, context.setting) @ items.T

    def of(self, similarities: Float[Tensor, " item"]) -> Float[Tensor, " item"]:
        """The weights of the items of the training split; a batch brings its own to a mean of 1."""
        return (self.sharpness * similarities).exp()
