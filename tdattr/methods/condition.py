"""Condition similarity: which training items were conditioned most like the generated one (MUCS §4)."""

from dataclasses import dataclass

import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer


@dataclass(frozen=True)
class Condition:
    """Cosine of condition vectors (one-hot classes, CLIP texts); of an item's captions, the first counts."""

    name: str

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """It needs a conditional dataset."""
        if not data.condition_size:
            raise UserError(
                f"method={self.name} compares conditions but the dataset has none: choose another method, or one with "
                "dataset.source.condition."
            )

    def start(self, context: Context) -> Scorer:
        """The conditions of the training items."""
        conditions = context.data.train.condition(context.ids)
        assert conditions is not None and context.conditions is not None
        targets, queries = (torch.nn.functional.normalize(each, dim=1) for each in (conditions, context.conditions))
        return lambda query: Scored(targets @ queries[query])
