"""F1's losses of the training items: a table that all queries, and all methods with the same noise, share."""

from collections.abc import Mapping
from typing import Any

from tdattr.methods import Context
from tdattr.scoring.cells import LossModel, TrainingItems
from tdattr.scoring.loss_table import StoredTable
from tdattr.scoring.pairs import Pairs
from tdattr.store import Build, Plan


def f1_table(context: Context, items: TrainingItems, pairs: Pairs, noise: Mapping[str, Any]) -> StoredTable:
    """The table of those items at those pairs; ``noise``: what the pairs are made from, besides the seed."""

    def load() -> LossModel:
        return LossModel(context.diffusion, context.f1.load(), context.device, context.trainer.scoring_batch)

    def plan(block: Mapping[str, Any], build: Build) -> Plan:
        return context.plan("losses", 2, dict(noise) | items.describe() | dict(block), build)

    return StoredTable(items, pairs, load, plan, "Losses of F1")
