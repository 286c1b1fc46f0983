"""Weights of the retained items while MUCS unlearns, from their similarity to the query."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tdattr.configs import Node
from tdattr.diffusion.batch import Batch
from tdattr.features import Extractor, training_vectors, unit_vectors
from tdattr.methods import Context
from tdattr.ranges import Part

Similarity = Float[Tensor, " batch"]
Conditions = Shaped[Tensor, "batch *condition"] | None


@dataclass(frozen=True)
class InstanceWeights(Node, ABC):
    """The ``unlearn.instance_weights`` node: a rule that turns similarities into weights."""

    extractor: Extractor

    def similarities(self, context: Context) -> Float[Tensor, "query id"]:
        """The cosine of the features of each query and each item of the training split."""
        embed = self.extractor.load(context.setting)
        items = torch.from_numpy(np.array(training_vectors(self.extractor, embed, context.setting)))
        return unit_vectors(embed, context.queries.images, context.setting) @ items.T

    def of_batch(
        self, similarities: Float[Tensor, " id"], condition: Shaped[Tensor, "*condition"] | None, batch: Batch
    ) -> Similarity:
        """The weights of the items of a batch, whose mean is 1; ``similarities`` to a query, ``condition``: its own."""
        assert batch.ids is not None
        return self.weigh(similarities[batch.ids], batch.given.condition, condition)

    @abstractmethod
    def weigh(
        self, similarity: Similarity, conditions: Conditions, condition: Shaped[Tensor, "*condition"] | None
    ) -> Similarity:
        """The weights of items with that similarity and those conditions to a query; their mean is 1."""


@dataclass(frozen=True)
class SkipMostSimilar(InstanceWeights):
    """The rule of the authors' code: the most similar items of a batch, a ``share`` of it, are not retained at all.

    All others have the same weight. Under a conditional model the square root of the cosine of the conditions, where
    that is above 0, is added to the similarity.
    """

    share: Part

    def weigh(
        self, similarity: Similarity, conditions: Conditions, condition: Shaped[Tensor, "*condition"] | None
    ) -> Similarity:
        """1 up to the quantile 1 - share of the similarities (linear interpolation), 0 above; over the mean."""
        if conditions is not None and condition is not None:
            alike = cosine_similarity(conditions.flatten(1).to(similarity), condition.flatten()[None].to(similarity))
            similarity = similarity + alike.clamp(min=0).sqrt()
        kept = (similarity <= similarity.quantile(1 - self.share)).to(similarity)
        return kept / kept.mean()


@dataclass(frozen=True)
class ExponentialWeights(InstanceWeights):
    """Ours: exp(sharpness · similarity). Above 0 what is like the query is retained harder, below 0 less."""

    code_version: ClassVar = 2  # no overflow
    sharpness: float

    def weigh(
        self, similarity: Similarity, conditions: Conditions, condition: Shaped[Tensor, "*condition"] | None
    ) -> Similarity:
        """Whatever the conditions; over the mean."""
        scaled = self.sharpness * similarity
        weights = (scaled - scaled.max()).exp()  # of which none overflows
        return weights / weights.mean()
