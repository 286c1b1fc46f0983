"""Mirrored unlearning: fine-tune on the training data while ascending, bounded, on the generated item (MUCS §2.3)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.data.prepared import Split
from tdattr.diffusion import Diffusion
from tdattr.seeding import generator, normal

Batch = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Mirrored:
    """L_FT - weight * L_GA (MUCS eq. 2), where L_GA clamps each loss of the query at the null loss."""

    diffusion: Diffusion
    weight: float
    null_loss: float
    stop: float

    @property
    def goal(self) -> float:
        """``stop`` times the null loss (MUCS §2.3, C2)."""
        return self.stop * self.null_loss

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the clamped mean loss of the query."""
        retained = self.diffusion.loss(network, **batch["retain"]).mean()
        forgotten = self.diffusion.loss(network, **batch["forget"]).clamp(max=self.null_loss).mean()
        return retained - self.weight * forgotten, forgotten.detach()


@dataclass(frozen=True)
class MirroredBatches(Dataset[Batch]):
    """Step by step: training items without replacement, and as many copies of the query, each with its own noise."""

    split: Split
    ids: np.ndarray
    diffusion: Diffusion
    image: Float[Tensor, "channel height width"]
    condition: Float[Tensor, " condition"] | None
    batch_size: int
    seed: int
    query: int

    def __getitem__(self, step: int) -> Batch:
        rng = generator(self.seed, "mucs.unlearn", self.query, step)
        copies = None if self.condition is None else self.condition.expand(self.batch_size, -1)
        return {
            "retain": training_draw(self.split, self.ids, self.diffusion, self.batch_size, rng),
            "forget": draw(self.image.expand(self.batch_size, -1, -1, -1), copies, self.diffusion, rng),
        }


def training_draw(
    split: Split, ids: np.ndarray, diffusion: Diffusion, count: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """``count`` different training items, each with one of its captions, at noise from the training distribution."""
    chosen = rng.choice(ids, count, replace=False)
    variants = 1 if split.conditions is None else split.conditions.shape[1]
    return draw(split.images(chosen), split.condition(chosen, rng.integers(variants, size=count)), diffusion, rng)


def draw(x: Tensor, condition: Tensor | None, diffusion: Diffusion, rng: np.random.Generator) -> dict[str, Tensor]:
    """Arguments of ``diffusion.loss`` for these items with an independent level and noise image each."""
    batch = {"x": x, "level": diffusion.training_levels(rng, len(x)), "noise": normal(rng, *x.shape)}
    return batch if condition is None else batch | {"condition": condition}
