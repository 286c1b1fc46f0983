"""A teacher: a model beside F1 that is told the group of every item, trained or brought along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tdattr.configs import Node
from tdattr.ids import Ids
from tdattr.networks import NetworkConfig
from tdattr.training.config import TrainConfig


@dataclass(frozen=True)
class Teacher(Node):
    """The ``teacher`` node of an objective: ``model``, None for the run's, is trained as ``train`` says on the items
    that F1 sees, from the run's seed, or its weights are those of ``checkpoint``.

    Its condition is the groups of an item (``group_conditions``), so that it needs none in the dataset. All of this is
    in the address of the trained teacher, which the address of whatever was made with it contains.
    """

    unaddressed: ClassVar = ("model", "train", "checkpoint")

    model: NetworkConfig | None
    train: TrainConfig
    checkpoint: str | None

    def unread(self) -> dict[str, str]:
        """How it is trained, where it is brought along."""
        if self.checkpoint is not None:
            return {"train": f"checkpoint={self.checkpoint}"}
        brings = self.model is not None and self.model.has_weights
        return {"train": "model, which has weights of its own"} if brings else {}


def group_conditions(groups: Mapping[str, Ids], count: int) -> Float[np.ndarray, "item group"]:
    """What a teacher is told of each of ``count`` items: 1 for each of the groups that the item is in, in their order.

    A one-hot vector where groups do not overlap; all 0 for an item of no group, which gets the null condition instead.
    """
    conditions = np.zeros((count, len(groups)), np.float32)
    for column, ids in enumerate(groups.values()):
        conditions[ids, column] = 1
    return conditions
