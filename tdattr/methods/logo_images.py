"""How far a query's image changes when it is generated again by a model trained without a group (GUDA's baseline)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from tdattr.data.prepared import Prepared
from tdattr.methods import Context, Scored, Scorer


@dataclass(frozen=True)
class LOGOImages:
    """1 - the similarity of the image and the one of the same seed and condition, by ``measure``."""

    scores_groups: ClassVar = True
    retrains: ClassVar = True

    name: str
    measure: Any  # a Measure

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """It serves every network and dataset."""

    def prepare(self, context: Context) -> None:
        """What takes long."""
        context.retrained(list(context.groups().values()), 0, 1)

    def start(self, context: Context) -> Scorer:
        """Train without each group, generate the queries again, and compare."""
        compare = self.measure.load(context.setting)
        removals = list(context.groups().values())
        context.retrained(removals, 0, 1)
        columns = [1 - compare(context.images, context.regenerated(ids)) for ids in removals]
        scores = torch.stack([column.double() for column in columns], dim=1)
        facts = {"training_steps": float(len(removals) * context.train.steps)}
        return lambda query: Scored(scores[query], facts)
