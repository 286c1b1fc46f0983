"""Plain gradient ascent on the loss of one generated item."""

import math
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.seeding import generator
from tdattr.unlearning.draws import draw_copies


@dataclass(frozen=True)
class Ascent:
    """-L(query), unbounded; only the number of steps ends it."""

    diffusion: Diffusion
    goal: float = math.inf

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss to minimise, and the mean loss of the query."""
        loss = self.diffusion.loss(network, *batch.inputs).mean()
        return -loss, loss.detach(), {"query_loss": loss}


@dataclass(frozen=True)
class QueryBatches(Dataset[Batch]):
    """Batch by batch: copies of the query, each at its own noise from the training distribution."""

    diffusion: Diffusion
    x: Float[Tensor, "*shape"]
    condition: Shaped[Tensor, "*condition"] | None
    batch_size: int
    seed: int
    query: int

    def __getitem__(self, index: int) -> Batch:
        rng = generator(self.seed, "ascent", self.query, index)
        return draw_copies(self.x, self.condition, self.batch_size, rng, self.diffusion.training_levels)
