"""Plain gradient ascent on the loss of one generated item."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.diffusion import Diffusion
from tdattr.seeding import generator
from tdattr.unlearning.draws import draw


@dataclass(frozen=True)
class Ascent:
    """-L(query), with no bound and no goal."""

    diffusion: Diffusion
    goal: float = math.inf

    def __call__(self, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the mean loss of the query."""
        loss = self.diffusion.loss(network, **batch).mean()
        return -loss, loss.detach()


@dataclass(frozen=True)
class QueryBatches(Dataset[dict[str, Tensor]]):
    """Batch by batch: copies of the query, each at its own noise from the training distribution."""

    diffusion: Diffusion
    image: Float[Tensor, "channel height width"]
    condition: Float[Tensor, " condition"] | None
    batch_size: int
    seed: int
    query: int

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "ascent", self.query, index)
        copies = None if self.condition is None else self.condition.expand(self.batch_size, -1)
        images = self.image.expand(self.batch_size, -1, -1, -1)
        return draw(images, copies, rng, self.diffusion.training_levels)
