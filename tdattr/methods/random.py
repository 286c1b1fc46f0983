"""Random attribution: the reference of every evaluation."""

from dataclasses import dataclass

import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.methods import Context, Scored, Scorer
from tdattr.seeding import generator


@dataclass(frozen=True)
class Random:
    """Uniform scores, independent for every query (MUCS §4)."""

    name: str

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """It serves every network and dataset."""

    def start(self, context: Context) -> Scorer:
        """Nothing is shared."""

        def score(query: int) -> Scored:
            draws = generator(context.seed, "method.random", query).random(len(context.ids))
            return Scored(torch.from_numpy(draws).float())

        return score
