"""What a network generates while it is trained: the run's first queries, as far as it has come."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdattr.codecs import Codec
from tdattr.diffusion import Diffusion
from tdattr.networks import Given
from tdattr.pipeline.generate import guidance, query_items
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import query_generator
from tdattr.recorder import Picture

MOST = 10  # images


@dataclass(frozen=True)
class Samples:
    """Draws what a network makes of the seeds and conditions of the first queries; can be sent to another process."""

    diffusion: Diffusion
    codec: Codec
    shape: tuple[int, ...]  # of the x of an image
    channels: int  # of the image
    conditions: Tensor | None
    guidance: float | None
    seed: int
    numbers: list[int]  # of the noise

    def __call__(self, network: nn.Module) -> Picture:
        """A grid of the images; black where they are not finite."""
        from tdattr.pictures import grid  # torchvision takes a second to import

        device = next(network.parameters()).device
        given = Given(None if self.conditions is None else self.conditions.to(device))
        rngs = [query_generator(self.seed, number) for number in self.numbers]
        with torch.inference_mode():
            x = self.diffusion.sample(network, rngs, self.shape, given, self.guidance)
            return grid(self.codec.decode(x.nan_to_num(-1.0), self.channels).float().cpu())


def first_queries(ws: Workspace) -> Samples:
    """Those of a run."""
    count = min(MOST, ws.queries.generated)
    conditions = ws.query_split.condition(query_items(ws)[:count])
    return Samples(
        ws.diffusion,
        ws.codec,
        ws.x_shape,
        ws.data.channels,
        conditions,
        guidance(ws),
        ws.seed,
        ws.queries.numbers[:count],
    )
