"""Mirrored unlearning: fine-tune on the training data while ascending, bounded, on the generated item (MUCS §2.3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.seeding import generator
from tdattr.training.augmentation import augment
from tdattr.training.config import AugmentationConfig
from tdattr.unlearning.draws import Levels, UnlearnBatch, draw_copies, draw_items


@dataclass(frozen=True)
class Mirrored:
    """L_FT - weight * L_GA (MUCS eq. 2), where L_GA clamps each loss of the query at the null loss.

    Without a null loss nothing is clamped and nothing but the number of steps ends the unlearning.
    """

    diffusion: Diffusion
    weight: float
    null_loss: float | None
    stop: float | None

    @property
    def goal(self) -> float:
        """``stop`` times the null loss (MUCS §2.3, C2)."""
        return math.inf if self.null_loss is None or self.stop is None else self.stop * self.null_loss

    def __call__(self, network: nn.Module, batch: UnlearnBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss, and the clamped mean loss of the query."""
        retained = self.diffusion.loss(network, *batch.retain.inputs)
        if batch.loss_weights is not None:
            retained = retained * batch.loss_weights
        forgotten = self.diffusion.loss(network, *batch.forget.inputs)
        if self.null_loss is not None:
            forgotten = forgotten.clamp(max=self.null_loss)
        parts = {"retained_loss": retained.mean(), "query_loss": forgotten.mean()}
        if self.null_loss is not None:
            parts["share_of_null_loss"] = forgotten.detach().mean() / self.null_loss
        return parts["retained_loss"] - self.weight * parts["query_loss"], parts["query_loss"].detach(), parts


@dataclass(frozen=True)
class MirroredBatches(Dataset[UnlearnBatch]):
    """Step by step: training items without replacement, and as many copies of the query, each with its own noise.

    ``shared_noise``: the copies get the noise of the training items. ``augmentation``: both are augmented as in
    training. ``weigh``: from the training items of a batch to the weights of their losses.
    """

    split: Split
    ids: Int[np.ndarray, " item"]
    x: Float[Tensor, "*shape"]  # of the query
    condition: Shaped[Tensor, "*condition"] | None
    batch_size: int
    seed: int
    query: int
    levels: Levels
    shared_noise: bool = False
    augmentation: AugmentationConfig | None = None
    weigh: Callable[[Batch], Float[Tensor, " batch"]] | None = None

    def __getitem__(self, step: int) -> UnlearnBatch:
        rng = generator(self.seed, "mucs.unlearn", self.query, step)
        retain = draw_items(self.split, self.ids, self.batch_size, rng, self.levels)
        forget = draw_copies(self.x, self.condition, self.batch_size, rng, self.levels)
        if self.shared_noise:
            forget = replace(forget, level=retain.level, noise=retain.noise)
        if self.augmentation is not None:
            retain, forget = (augment_batch(part, self.augmentation, rng) for part in (retain, forget))
        return UnlearnBatch(retain, forget, None if self.weigh is None else self.weigh(retain))


def augment_batch(batch: Batch, config: AugmentationConfig, rng: np.random.Generator) -> Batch:
    """The batch with its items augmented, as the network is told."""
    x, label = augment(batch.x, config, rng)
    return replace(batch, x=x, given=replace(batch.given, augmentation=label))
