"""What an experiment's size needs: the ``dataset.recipe`` node, which the train, method and queries nodes read."""

from dataclasses import dataclass
from typing import Literal

from tdattr.configs import Node


@dataclass(frozen=True)
class UnlearnRecipe:
    """How groups are unlearned: see ``tdattr.unlearning.group`` for what each value does, and checks."""

    epochs: int
    steps: int | None  # instead of epochs
    batch_size: int
    learning_rate: float
    schedule_steps: int | None  # None: all
    warmup_steps: int
    coupled: bool
    weight_by_size: bool


@dataclass(frozen=True)
class Recipe(Node):
    """How a model of the dataset is trained: see ``tdattr.training.config`` for what each value does, and checks."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    schedule: Literal["constant", "cosine"]  # of the rate after the warm-up
    ema: float
    mirror: bool
    coupled: bool
    guidance: float | None  # of generated queries; None: no guidance
    unlearn: UnlearnRecipe
