"""The pixels of a query generated again from its seed, through the whole sampler."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tdattr.methods import Context
from tdattr.methods.generation import count_evaluations, generate_again
from tdattr.methods.output import Output, differentiate
from tdattr.networks import Network
from tdattr.ranges import Count
from tdattr.seeding import generator


@dataclass(frozen=True)
class PixelsOutput(Output):
    """The ``output=pixels`` node: ``directions`` random combinations of the picture's pixels, with signs drawn for all
    queries, so that the squares of what they move add up to that of the picture on average (Achlioptas 2003).

    At F1 the distance of the picture from the query is at its minimum and has no derivative. Let column z of A be what
    the weight of item z moves. Without a set S of items the picture moves by the sum of their columns, and the set of k
    items that moves it most has the k highest of u·A, for the direction u of that sum. The score is u·A, with u the
    leading left singular vector of A, the direction along which items move the picture most.
    """

    needs: ClassVar = frozenset({"generation"})
    signed: ClassVar = False
    counts: ClassVar = "queries.attributed, method.output.directions"

    name: str
    directions: Count

    @property
    def size(self) -> int:
        """As many as there are directions."""
        return self.directions

    def count_evaluations(self, context: Context) -> int | None:
        """Those of a generation."""
        return count_evaluations(context)

    def evaluate(self, context: Context, network: Network) -> Float[Tensor, "query direction"]:
        """Where each picture lies along the directions."""
        with torch.no_grad():
            rows = [self.sketch(context, network, query).cpu().double() for query in range(len(context.queries))]
        return torch.stack(rows)

    def differentiate(self, context: Context, network: Network, query: int) -> Float[Tensor, "direction parameter"]:
        """Back through every step of the sampler, whose evaluations of the network are computed once more there."""
        return differentiate(network, lambda module: self.sketch(context, Recomputed(module), query))

    def sketch(self, context: Context, network: nn.Module, query: int) -> Float[Tensor, " direction"]:
        """The combinations of the pixels of one query."""
        x = generate_again(context, network, slice(query, query + 1))
        pixels = context.decode(x).flatten()
        return self.combine(context, query, len(pixels)).to(pixels) @ pixels

    def combine(self, context: Context, query: int, size: int) -> Float[Tensor, "direction pixel"]:
        """How much each of so many pixels counts in the combinations."""
        signs = generator(context.seed, "output.pixels").integers(2, size=(self.directions, size))
        return torch.from_numpy((2 * signs - 1) / self.directions**0.5)

    def score(self, derivatives: Float[Tensor, "query direction item"]) -> Float[Tensor, "query item"]:
        """Along the leading direction of every query, whose positive side is where the items move the picture in larger
        steps: the sum of the cubes is above zero."""
        along = torch.stack([lead(moved.double()) for moved in derivatives])
        return along.float()


def lead(moved: Float[Tensor, "direction item"]) -> Float[Tensor, " item"]:
    """See ``score``."""
    along = torch.linalg.svd(moved, full_matrices=False).U[:, 0] @ moved
    return along if along.pow(3).sum() >= 0 else -along


class Recomputed(nn.Module):
    """A network whose activations are not kept for the way back, but computed again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Tensor:
        """That of the network."""
        return checkpoint(self.network, *inputs, use_reentrant=False)
