"""MUCS: mirrored unlearning and noise-consistent skew (Serra et al. 2026, arXiv 2605.17938).

Unlearn the generated item, and see on which training items the loss moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Settings
from tdattr.costs import Work
from tdattr.errors import UserError
from tdattr.features import plan_vectors
from tdattr.methods import Context, MethodSetup, MethodWork, Scored, Scorer
from tdattr.methods.f1_losses import loss_model
from tdattr.methods.instance_weights import InstanceWeights
from tdattr.methods.loss_shift import Shift, count_shift, shift_scorer
from tdattr.methods.schedule_share import AUTO, Share, check_share, find_share, plan_threshold
from tdattr.methods.shift_config import ShiftConfig, ShiftMethod
from tdattr.networks import Network
from tdattr.progress import track
from tdattr.ranges import Count, Positive, PositiveOrZero
from tdattr.scoring.cells import BatchItems
from tdattr.scoring.pairs import NoiseSet
from tdattr.seeding import generator
from tdattr.training.config import TrainConfig
from tdattr.unlearning.capped import CAPPED
from tdattr.unlearning.draws import Levels, draw_items, generation_draw
from tdattr.unlearning.mirrored import Mirrored, MirroredBatches

USUAL_STEPS = 109  # of unlearning a query: as many as MUCS takes where no null loss ends it (Table 2, U-C3)


@dataclass(frozen=True)
class NullConfig:
    """Step 1, the null loss (MUCS §2.2)."""

    batches: Count
    batch_size: Count


@dataclass(frozen=True)
class MirrorConfig(Settings):
    """Step 2, unlearning (MUCS §2.3).

    ``levels``: of the ``training`` distribution, or drawn along the first ``schedule_share`` of the ``generation``
    schedule (a number, or ``auto``: see ``schedule_share.py``). ``stop`` None: there is no null loss, so that the
    query's loss is not bounded and only ``max_steps`` ends the unlearning.
    """

    weight: PositiveOrZero
    batch_size: Count
    learning_rate_factor: Positive
    trainable: str
    levels: Literal["training", "generation"]
    schedule_share: Share | None
    stop: PositiveOrZero | None
    check: Literal["before", "after"]
    max_steps: Count
    shared_noise: bool
    augment: bool
    instance_weights: InstanceWeights | None

    def __post_init__(self) -> None:
        check_share("method.unlearn", self.levels, self.schedule_share)

    def unread(self) -> dict[str, str]:
        """When the null loss is looked at, where there is none."""
        return {"check": "stop=null"} if self.stop is None else {}


@dataclass(frozen=True)
class MUCS(ShiftMethod):
    """The ``method=mucs`` node; the published figures are in ``conf/method/mucs.yaml``."""

    needs: ClassVar = frozenset({"losses"})
    code_version: ClassVar = 2  # unlearning and the null loss take the first caption of an item
    remedy: ClassVar = "lower method.unlearn.learning_rate_factor"

    name: str
    null_loss: NullConfig
    unlearn: MirrorConfig
    score: ShiftConfig

    def unread(self) -> dict[str, str]:
        """The null loss, where nothing is compared with it."""
        return {"null_loss": "unlearn.stop=null"} if self.unlearn.stop is None else {}

    def learning_rate(self, train: TrainConfig) -> float:
        """Of unlearning."""
        return train.learning_rate * self.unlearn.learning_rate_factor

    def compared(self, train: TrainConfig) -> Mapping[str, float]:
        """Lambda and the learning rate."""
        return {"lambda": self.unlearn.weight, "unlearning_rate": self.learning_rate(train)}

    def check_network(self, network: Network) -> None:
        """The network must have the part that is trained."""
        network.parameter_names(self.unlearn.trainable)

    def check(self, setup: MethodSetup) -> None:
        """Batches must not need more items than there are."""
        largest = max(self.unlearn.batch_size, 0 if self.unlearn.stop is None else self.null_loss.batch_size)
        if largest > setup.items:
            raise UserError(
                f"MUCS draws {largest} different training items at a time but there are {setup.items}: "
                "lower method.unlearn.batch_size and method.null_loss.batch_size."
            )
        if self.unlearn.augment and not (setup.train.augmentation.enabled and setup.network.knows_augmentation):
            raise UserError("method.unlearn.augment=true needs a network trained with train.augmentation.enabled=true.")

    def work(self, context: Context) -> MethodWork:
        """The null loss once, and for each query the unlearning, which its goal ends earlier, and the losses after."""
        config, setup, shift = self.unlearn, Work(), count_shift(context, self.score)
        step = Work(steps=1, trained=2 * config.batch_size)
        bounded = config.stop is not None
        needs = [*shift.needs, *([plan_threshold(context)] if config.schedule_share == AUTO else [])]
        if bounded:
            setup = Work(evaluations=self.null_loss.batches * self.null_loss.batch_size)
        if config.instance_weights is not None:
            needs.append(plan_vectors(config.instance_weights.extractor, None, context.setting))
            setup += Work(looks=len(context.queries))
        usual = None
        if bounded or shift.usual is not None:
            steps = min(USUAL_STEPS, config.max_steps) if bounded else config.max_steps
            usual = (shift.query if shift.usual is None else shift.usual) + step * steps
        return MethodWork(shift.query + (step * config.max_steps).bound(bounded), setup, needs, usual)

    def start(self, context: Context) -> Scorer:
        """The null loss and F1's losses, which all queries share."""
        null_loss = self.estimate_null_loss(context) if self.unlearn.stop is not None else None
        weights = self.unlearn.instance_weights
        similarities = None if weights is None else weights.similarities(context)
        return partial(self.score_query, context, null_loss, similarities, shift_scorer(context, self.score))

    def unlearning_levels(self, context: Context) -> Levels:
        """How levels are drawn for the null loss and for unlearning."""
        if self.unlearn.schedule_share is None:
            return context.diffusion.training_levels
        share = find_share(context, self.unlearn.schedule_share, self.score.pairs)
        return generation_draw(context.diffusion, share)

    def estimate_null_loss(self, context: Context) -> float:
        """The mean loss of the freshly initialised network under the training distributions (eq. 1); as in the authors'
        code, its levels are those of the unlearning where ``unlearn.levels`` is another choice."""
        model, levels = loss_model(context, context.f0()), self.unlearning_levels(context)
        total = 0.0
        for index in track(range(self.null_loss.batches), "The null loss", self.null_loss.batches, nested=True):
            rng = generator(context.seed, "mucs.null", index)
            batch = draw_items(context.data.train, context.ids, self.null_loss.batch_size, rng, levels)
            cells = np.arange(len(batch))
            total += float(model.cells(BatchItems(batch), NoiseSet(batch.level, batch.noise), cells, cells).mean())
        return total / self.null_loss.batches

    def score_query(
        self,
        context: Context,
        null_loss: float | None,
        similarities: Float[Tensor, "query id"] | None,
        score: Shift,
        query: int,
    ) -> Scored:
        """Unlearn the query, then see how far the losses moved (eq. 3)."""
        from tdattr.unlearning.module import Unlearning, unlearn  # Lightning takes seconds to import

        network = context.f1.load()
        module = Unlearning(
            network,
            Mirrored(context.diffusion, self.unlearn.weight, null_loss, self.unlearn.stop),
            partial(
                torch.optim.AdamW,
                lr=self.learning_rate(context.train),
                betas=(context.train.betas[0], context.train.betas[1]),
                weight_decay=context.train.weight_decay,
            ),
            trainable=network.parameter_names(self.unlearn.trainable),
            check_first=self.unlearn.check == "before",
        )
        batches, label = self.batches(context, similarities, query), f"Unlearning query {query}"
        curve = context.recorder.curve("unlearn", f"query {query}")
        outcome = unlearn(module, batches, self.unlearn.max_steps, context.trainer, label=label, curve=curve)
        network.to(context.device)
        facts = {"unlearning_steps": float(outcome.steps)}
        if null_loss is not None:
            facts |= {"forgotten": outcome.progress / null_loss, CAPPED: float(not outcome.reached)}
        if AUTO in (self.unlearn.schedule_share, self.score.schedule_share):
            facts["schedule_share"] = find_share(context, AUTO, self.score.pairs)
        scored = score(network, query)
        return replace(scored, facts=facts | scored.facts)

    def batches(self, context: Context, similarities: Float[Tensor, "query id"] | None, query: int) -> MirroredBatches:
        """What each step of unlearning a query is given."""
        weights = self.unlearn.instance_weights
        condition = None if context.queries.conditions is None else context.queries.conditions[query]
        weigh = None
        if weights is not None and similarities is not None:
            weigh = partial(weights.of_batch, similarities[query], condition)
        return MirroredBatches(
            context.data.train,
            context.ids,
            context.queries.x[query],
            condition,
            self.unlearn.batch_size,
            context.seed,
            query,
            self.unlearning_levels(context),
            self.unlearn.shared_noise,
            context.train.augmentation if self.unlearn.augment else None,
            weigh,
        )
