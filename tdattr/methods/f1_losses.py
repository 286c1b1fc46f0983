"""F1's losses of the training items: a table that all queries, and all methods with the same noise, share."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tdattr.methods import Context
from tdattr.scoring.cells import LossModel, TrainingItems
from tdattr.scoring.loss_table import StoredTable
from tdattr.scoring.pairs import Pairs
from tdattr.store import Build, Plan
from tdattr.training.config import ScoringPrecision


def f1_table(context: Context, items: TrainingItems, pairs: Pairs, noise: Mapping[str, Any]) -> StoredTable:
    """The table of those items at those pairs; ``noise``: what the pairs are made from, besides the seed."""

    def load() -> LossModel:
        return loss_model(context, context.f1.load())

    def plan(block: Mapping[str, Any], build: Build) -> Plan:
        key = dict(noise) | items.describe() | {"precision_of_losses": precision(context)}
        return context.plan("losses", 3, key | dict(block), build)

    return StoredTable(items, pairs, load, plan, "Losses of F1", context.f1.plans)


def loss_model(context: Context, network: nn.Module) -> LossModel:
    """The losses of a network, in the context's batches and precision and on its device."""
    batch = context.trainer.scoring_batch
    return LossModel(context.diffusion, network, context.device, batch, precision=precision(context))


def precision(context: Context) -> ScoringPrecision:
    """That of the network. Raises TypeError for a method that does not declare that it needs ``losses``."""
    if context.precision_of_losses is None:
        raise TypeError('the losses of training items were asked for, but "losses" is not among the `needs`')
    return context.precision_of_losses
