"""TracIn at one checkpoint (Pruthi et al. 2020, arXiv 2002.08484) and its cosine.

With every draw's gradient normalised it has the correction of Diffusion-ReTrac (Xie et al. 2024, arXiv 2401.09031).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.gradient_features import gradient_features
from tdattr.networks import part_names
from tdattr.scoring.gradients import GradientConfig


@dataclass(frozen=True)
class GradientSimilarity:
    """The inner product of the query's and the item's features, or their ``cosine``."""

    name: str
    gradients: GradientConfig
    cosine: bool

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """The network must know the part that is differentiated."""
        part_names(network, self.gradients.parameters)

    def start(self, context: Context) -> Scorer:
        """The features of the items."""
        found, queries = gradient_features(context, self.gradients)
        items = torch.from_numpy(np.array(found))  # into memory, and writable
        lengths = items.norm(dim=1).clamp(min=1e-30) if self.cosine else torch.ones(len(items))

        def score(query: int) -> Scored:
            wanted = queries[query]
            return Scored(items @ (nn.functional.normalize(wanted, dim=0) if self.cosine else wanted) / lengths)

        return score
