"""MUCS: mirrored unlearning and noise-consistent skew (Serra et al. 2026, arXiv 2605.17938).

Unlearn the generated item, and see on which training items the loss moved.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from tdattr.errors import UserError
from tdattr.methods import Context, Method, MethodSetup, Scored, Scorer
from tdattr.methods.f1_losses import loss_model
from tdattr.methods.instance_weights import InstanceWeights
from tdattr.methods.loss_shift import Shift, ShiftConfig, shift_scorer
from tdattr.scoring.cells import BatchItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator
from tdattr.unlearning.draws import draw_items
from tdattr.unlearning.mirrored import Mirrored, MirroredBatches


@dataclass(frozen=True)
class NullConfig:
    """Step 1, the null loss (§2.2)."""

    batches: int
    batch_size: int


@dataclass(frozen=True)
class MirrorConfig:
    """Step 2, unlearning (§2.3). ``stop`` None: there is no null loss, so that the query's loss is not bounded and only
    ``max_steps`` ends the unlearning."""

    weight: float
    batch_size: int
    learning_rate_factor: float
    trainable: str
    levels: Literal["training", "generation"]
    stop: float | None
    check: Literal["before", "after"]
    max_steps: int
    shared_noise: bool
    augment: bool
    instance_weights: InstanceWeights | None

    def __post_init__(self) -> None:
        if self.weight < 0 or self.learning_rate_factor <= 0 or (self.stop is not None and self.stop < 0):
            raise UserError("method.unlearn needs weight and stop of at least 0, and learning_rate_factor above 0.")


@dataclass(frozen=True)
class MUCS(Method):
    """The ``method=mucs`` node; the published figures are in ``conf/method/mucs.yaml``."""

    name: str
    null_loss: NullConfig
    unlearn: MirrorConfig
    score: ShiftConfig

    def __post_init__(self) -> None:
        sizes = (self.null_loss.batches, self.null_loss.batch_size, self.unlearn.batch_size, self.unlearn.max_steps)
        if min(sizes) < 1:
            raise UserError("method.null_loss, unlearn.batch_size and unlearn.max_steps must be at least 1.")

    def check(self, setup: MethodSetup) -> None:
        """Batches must not need more items than there are, and the network must have the part that is trained."""
        setup.network.parameter_names(self.unlearn.trainable)
        largest = max(self.unlearn.batch_size, 0 if self.unlearn.stop is None else self.null_loss.batch_size)
        if largest > setup.items:
            raise UserError(
                f"MUCS draws {largest} different training items at a time but there are {setup.items}: "
                "lower method.unlearn.batch_size and method.null_loss.batch_size."
            )
        if self.unlearn.augment and not setup.network.knows_augmentation:
            raise UserError("method.unlearn.augment=true needs a network trained with train.augmentation.enabled=true.")

    def start(self, context: Context) -> Scorer:
        """The null loss and F1's losses, which all queries share."""
        null_loss = self.estimate_null_loss(context) if self.unlearn.stop is not None else None
        weights = self.unlearn.instance_weights
        similarities = None if weights is None else weights.similarities(context)
        return partial(self.score_query, context, null_loss, similarities, shift_scorer(context, self.score))

    def estimate_null_loss(self, context: Context) -> float:
        """The mean loss of the freshly initialised network under the training distributions (eq. 1)."""
        model = loss_model(context, context.f0())
        total = 0.0
        for index in range(self.null_loss.batches):
            rng = generator(context.seed, "mucs.null", index)
            batch = draw_items(
                context.data.train, context.ids, self.null_loss.batch_size, rng, context.diffusion.training_levels
            )
            cells = np.arange(len(batch))
            total += float(model.cells(BatchItems(batch), NoiseSet(batch.level, batch.noise), cells, cells).mean())
        return total / self.null_loss.batches

    def score_query(
        self, context: Context, null_loss: float | None, similarities: Any, score: Shift, query: int
    ) -> Scored:
        """Unlearn the query, then see how far the losses moved (eq. 3)."""
        from tdattr.unlearning.module import Unlearning, unlearn  # Lightning takes seconds to import

        network = context.f1.load()
        module = Unlearning(
            network,
            Mirrored(context.diffusion, self.unlearn.weight, null_loss, self.unlearn.stop),
            partial(
                torch.optim.AdamW,
                lr=context.train.learning_rate * self.unlearn.learning_rate_factor,
                betas=(context.train.betas[0], context.train.betas[1]),
                weight_decay=context.train.weight_decay,
            ),
            trainable=network.parameter_names(self.unlearn.trainable),
            check_first=self.unlearn.check == "before",
        )
        weights: InstanceWeights | None = self.unlearn.instance_weights
        batches = MirroredBatches(
            context.data.train,
            context.ids,
            context.diffusion,
            context.queries.x[query],
            None if context.queries.conditions is None else context.queries.conditions[query],
            self.unlearn.batch_size,
            context.seed,
            query,
            self.unlearn.levels,
            self.unlearn.shared_noise,
            context.train.augmentation if self.unlearn.augment else None,
            None if weights is None else weights.of(similarities[query]),
        )
        outcome = unlearn(module, batches, self.unlearn.max_steps, context.trainer)
        network.to(context.device)
        facts = {"unlearning_steps": float(outcome.steps)}
        if null_loss is not None:
            facts |= {"forgotten": outcome.progress / null_loss, "capped": float(not outcome.reached)}
        return Scored(score(network, query), facts)
