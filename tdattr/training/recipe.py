"""What an experiment's size needs: the ``dataset.recipe`` node, which the train, method and queries nodes read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tdattr.configs import Node
from tdattr.ranges import Count, CountOrZero, Part, PartOrZero, Positive, PositiveOrZero

AUTO: Literal["auto"] = "auto"
Auto = Literal["auto"]  # derived by the recipe's rule


@dataclass(frozen=True)
class UnlearnRecipe:
    """How groups are unlearned: see ``tdattr.unlearning.group`` for what each value does, and checks."""

    epochs: Count | None
    steps: Count | Auto | None  # one of the two
    kept: list[Count]
    scored: Count | None
    batch_size: Count | Auto
    learning_rate: Positive | Auto
    schedule_steps: Count | None  # None: all
    warmup_steps: CountOrZero | Auto
    coupled: bool
    weight_by_size: bool


@dataclass(frozen=True)
class Rule:
    """How a recipe follows from the number of training items and of the network's parameters: see
    ``conf/recipe/own.yaml``."""

    epochs: Count
    least_steps: Count
    batch_size: Count
    large_batch_size: Count
    many_items: Count
    learning_rate: Positive
    parameters: Count
    base_learning_rate: Positive
    base_parameters: Count
    lora_factor: Positive
    warmup_share: PartOrZero
    ema_share: Positive
    unlearn_share: Positive
    unlearn_rate_share: Positive
    unlearn_warmup_share: PartOrZero

    def rate(self, parameters: int, base: bool, lora: bool) -> float:
        """The learning rate for a network of so many parameters. ``base``: it starts from base weights, where all
        weights never learn faster than from random ones; ``lora``: an adapter is trained in their place."""
        rate = self.learning_rate * math.sqrt(min(1, self.parameters / parameters))
        if not base:
            return rate
        rate = min(rate, self.base_learning_rate * math.sqrt(self.base_parameters / parameters))
        return rate * self.lora_factor if lora else rate

    def derive(
        self, items: int, parameters: int, given: Mapping[str, Any], base: bool = False, lora: bool = False
    ) -> dict[str, Any]:
        """The values for so many training items and a network of so many parameters, by their dotted names; ``given``
        ones are taken as they are, and what follows from them does. ``base``, ``lora``: as ``rate`` takes them."""
        batch_size = given.get("batch_size") or (self.large_batch_size if items >= self.many_items else self.batch_size)
        epochs = given.get("epochs")
        least = 1 if epochs else self.least_steps
        steps = given.get("steps") or max(least, math.ceil((epochs or self.epochs) * items / batch_size))
        learning_rate = given.get("learning_rate") or self.rate(parameters, base, lora)
        unlearn_steps = given.get("unlearn.steps") or max(1, round(self.unlearn_share * steps))
        return {
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": round_rate(learning_rate),
            "warmup_steps": round(self.warmup_share * steps),
            "ema": max(0.0, 1 - round_rate(1 / (self.ema_share * steps))),
            "unlearn.steps": unlearn_steps,
            "unlearn.batch_size": batch_size,
            "unlearn.learning_rate": round_rate(self.unlearn_rate_share * learning_rate),
            "unlearn.warmup_steps": round(self.unlearn_warmup_share * unlearn_steps),
        }


@dataclass(frozen=True)
class Recipe(Node):
    """How a model of the dataset is trained: see ``tdattr.training.config`` for what each value does, and checks."""

    steps: Count | Auto | None
    epochs: Count | None  # one of the two
    drop_last: bool
    batch_size: Count | Auto
    learning_rate: Positive | Auto
    weight_decay: PositiveOrZero
    betas: list[PartOrZero]
    warmup_steps: CountOrZero | Auto | None
    warmup_share: PartOrZero | None  # one of the two
    schedule: Literal["constant", "cosine"]  # of the rate after the warm-up
    clip: Positive | None
    ema: PartOrZero | Auto
    weights: Literal["ema", "raw"]  # which of a trained model's are used
    mirror: bool
    coupled: bool
    guidance: PositiveOrZero | None  # of generated queries; None: no guidance
    removed_share: Part  # of the training items, for each query of protocol=leave_k_out
    unlearn: UnlearnRecipe
    rule: Rule | None = None  # what every ``auto`` is derived by


def round_rate(rate: float) -> float:
    """A learning rate as people write it, with two digits."""
    return float(f"{rate:.1e}")
