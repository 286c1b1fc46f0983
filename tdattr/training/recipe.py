"""What an experiment's size needs: the ``dataset.recipe`` node, which the train, method and queries nodes read."""

from dataclasses import dataclass
from typing import Literal

from tdattr.configs import Node


@dataclass(frozen=True)
class UnlearnRecipe:
    """How groups are unlearned: see ``tdattr.unlearning.group`` for what each value does, and checks."""

    epochs: int | None
    steps: int | None  # one of the two
    batch_size: int
    learning_rate: float
    schedule_steps: int | None  # None: all
    warmup_steps: int
    coupled: bool
    weight_by_size: bool


@dataclass(frozen=True)
class Recipe(Node):
    """How a model of the dataset is trained: see ``tdattr.training.config`` for what each value does, and checks."""

    steps: int | None
    epochs: int | None  # one of the two
    drop_last: bool
    batch_size: int
    learning_rate: float
    weight_decay: float
    betas: list[float]
    warmup_steps: int | None
    warmup_share: float | None  # one of the two
    schedule: Literal["constant", "cosine"]  # of the rate after the warm-up
    clip: float | None
    ema: float
    weights: Literal["ema", "raw"]  # which of a trained model's are used
    mirror: bool
    coupled: bool
    guidance: float | None  # of generated queries; None: no guidance
    removed_share: float  # of the training items, for each query of protocol=leave_k_out
    unlearn: UnlearnRecipe
