"""MUCS: mirrored unlearning and noise-consistent skew (Serra et al. 2026, arXiv 2605.17938).

Unlearn the generated item, and see on which training items the loss moved.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.item_losses import f1_losses, tracked_losses
from tdattr.networks import part_names
from tdattr.scoring.losses import NoiseSet
from tdattr.seeding import generator, normal
from tdattr.unlearning.mirrored import Mirrored, MirroredBatches, training_draw


@dataclass(frozen=True)
class NullConfig:
    """Step 1, the null loss (§2.2)."""

    batches: int
    batch_size: int


@dataclass(frozen=True)
class UnlearnConfig:
    """Step 2, unlearning (§2.3)."""

    weight: float
    batch_size: int
    learning_rate_factor: float
    trainable: str
    stop: float
    check: str
    max_steps: int


@dataclass(frozen=True)
class ScoreConfig:
    """Step 3, scoring (§2.4)."""

    pairs: int
    schedule_share: float
    epsilon: float


@dataclass(frozen=True)
class MUCS:
    """The ``method=mucs`` node; the published figures are in ``conf/method/mucs.yaml``."""

    name: str
    null_loss: NullConfig
    unlearn: UnlearnConfig
    score: ScoreConfig

    def __post_init__(self) -> None:
        if self.unlearn.check not in ("before", "after"):
            raise UserError(f"method.unlearn.check={self.unlearn.check} is unknown: choose before or after.")
        if not 0 < self.score.schedule_share <= 1:
            raise UserError(f"method.score.schedule_share={self.score.schedule_share} must lie in (0, 1].")
        sizes = (self.null_loss.batches, self.null_loss.batch_size, self.unlearn.batch_size, self.unlearn.max_steps)
        if min(*sizes, self.score.pairs) < 1:
            raise UserError(
                "method.null_loss, unlearn.batch_size, unlearn.max_steps and score.pairs must be at least 1."
            )

    def check(self, network: nn.Module, data: Prepared, items: int) -> None:
        """Its batches hold different items, and the network must know the part that is to be unlearned in."""
        part_names(network, self.unlearn.trainable)
        largest = max(self.unlearn.batch_size, self.null_loss.batch_size)
        if largest > items:
            raise UserError(
                f"MUCS draws {largest} different training items at a time but there are {items}: "
                "lower method.unlearn.batch_size and method.null_loss.batch_size."
            )

    def start(self, context: Context) -> Scorer:
        """The null loss, the noise set and F1's losses, which all queries share."""
        null_loss = self.estimate_null_loss(context)
        noise = self.noise_set(context)
        config = {"pairs": self.score.pairs, "schedule_share": self.score.schedule_share}
        before = f1_losses(context, noise, config)
        return partial(self.score_query, context, null_loss, noise, before)

    def estimate_null_loss(self, context: Context) -> float:
        """The mean loss of the freshly initialised network under the training distributions (eq. 1)."""
        network = context.f0()
        total = 0.0
        for index in range(self.null_loss.batches):
            rng = generator(context.seed, "mucs.null", index)
            batch = training_draw(context.data.train, context.ids, context.diffusion, self.null_loss.batch_size, rng)
            with torch.inference_mode():
                moved = {name: value.to(context.device) for name, value in batch.items()}
                total += float(context.diffusion.loss(network, **moved).mean())
        return total / self.null_loss.batches

    def noise_set(self, context: Context) -> NoiseSet:
        """The pairs that all items, queries and both models share (§2.4, C2 and C3)."""
        rng = generator(context.seed, "mucs.score")
        levels = generation_part(context.diffusion, self.score.pairs, self.score.schedule_share)
        return NoiseSet(levels, normal(rng, self.score.pairs, *context.images.shape[1:]))

    def score_query(
        self, context: Context, null_loss: float, noise: NoiseSet, before: Float[Tensor, "target pair"], query: int
    ) -> Scored:
        """Unlearn the query, then average the normalised skew of the losses over the pairs (eq. 3)."""
        from tdattr.unlearning.module import Unlearning, unlearn  # Lightning takes seconds to import

        network = context.f1()
        module = Unlearning(
            network,
            Mirrored(context.diffusion, self.unlearn.weight, null_loss, self.unlearn.stop),
            partial(
                torch.optim.AdamW,
                lr=context.train.learning_rate * self.unlearn.learning_rate_factor,
                weight_decay=context.train.weight_decay,
            ),
            trainable=part_names(network, self.unlearn.trainable),
            check_first=self.unlearn.check == "before",
        )
        condition = None if context.conditions is None else context.conditions[query]
        batches = MirroredBatches(
            context.data.train,
            context.ids,
            context.diffusion,
            context.images[query],
            condition,
            self.unlearn.batch_size,
            context.seed,
            query,
        )
        outcome = unlearn(module, batches, self.unlearn.max_steps, context.trainer)
        network.to(context.device)
        scores = torch.empty(len(context.ids))
        for places, after in tracked_losses(context, network, noise, f"Losses after query {query}", nested=True):
            scores[places] = skew(before[places], after, self.score.epsilon)
        return Scored(
            scores,
            {
                "unlearning_steps": outcome.steps,
                "forgotten": outcome.progress / null_loss,
                "capped": float(not outcome.reached),
            },
        )


def generation_part(diffusion: Diffusion, pairs: int, share: float) -> Float[Tensor, " pair"]:
    """The first ``pairs`` of floor(pairs / share) levels of the generation schedule, most noise first (§2.4, C3)."""
    return diffusion.generation_levels(math.floor(pairs / share))[:pairs]


def skew(
    before: Float[Tensor, "item pair"], after: Float[Tensor, "item pair"], epsilon: float
) -> Float[Tensor, " item"]:
    """(L2 - L1) / (|L2| + |L1| + epsilon), averaged over the pairs (eq. 3)."""
    return ((after - before) / (after.abs() + before.abs() + epsilon)).mean(1)
