"""Mirrored unlearning: fine-tune on the training data while ascending, bounded, on the generated item (MUCS §2.3)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.seeding import generator
from tdattr.training.augmentation import augment
from tdattr.training.config import AugmentationConfig
from tdattr.unlearning.draws import draw, generation_draw, training_draw

Batch = dict[str, Any]  # retain and forget: arguments of diffusion.loss; weights: of the retained items


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

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the clamped mean loss of the query."""
        retained = self.diffusion.loss(network, **batch["retain"])
        if "weights" in batch:
            retained = retained * batch["weights"]
        forgotten = self.diffusion.loss(network, **batch["forget"])
        if self.null_loss is not None:
            forgotten = forgotten.clamp(max=self.null_loss)
        return retained.mean() - self.weight * forgotten.mean(), forgotten.mean().detach()


@dataclass(frozen=True)
class MirroredBatches(Dataset[Batch]):
    """Step by step: training items without replacement, and as many copies of the query, each with its own noise.

    ``shared_noise``: the copies get the noise of the training items. ``augmentation``: both are augmented as in
    training. ``weights``: of all items of the split.
    """

    split: Split
    ids: np.ndarray
    diffusion: Diffusion
    image: Float[Tensor, "channel height width"]
    condition: Float[Tensor, " condition"] | None
    batch_size: int
    seed: int
    query: int
    levels: str = "training"
    shared_noise: bool = False
    augmentation: AugmentationConfig | None = None
    weights: Float[Tensor, " item"] | None = None

    def __getitem__(self, step: int) -> Batch:
        rng = generator(self.seed, "mucs.unlearn", self.query, step)
        levels = self.diffusion.training_levels if self.levels == "training" else generation_draw(self.diffusion)
        copies = None if self.condition is None else self.condition.expand(self.batch_size, -1)
        retain, chosen = training_draw(self.split, self.ids, self.batch_size, rng, levels)
        forget = draw(self.image.expand(self.batch_size, -1, -1, -1), copies, rng, levels)
        if self.shared_noise:
            forget |= {"level": retain["level"], "noise": retain["noise"]}
        if self.augmentation is not None:
            for part in (retain, forget):
                part["x"], part["augmentation"] = augment(part["x"], self.augmentation, rng)
        batch: Batch = {"retain": retain, "forget": forget}
        if self.weights is not None:
            weights = self.weights[chosen]
            batch["weights"] = weights / weights.mean()
        return batch
