"""Pixel similarity: which training images look most like the generated one, value by value."""

from dataclasses import dataclass
from typing import Annotated

import torch

from tdattr.costs import NO_WORK
from tdattr.methods import Context, Method, MethodWork, Scored, Scorer
from tdattr.ranges import Range

BLOCK = 4096  # images compared at a time


@dataclass(frozen=True)
class Pixel(Method):
    """Cosine of pixel vectors. ``zero`` is the pixel value, in [-1, 1], from which the vectors are measured."""

    name: str
    zero: Annotated[float, Range(least=-1, most=1)]

    @property
    def signed(self) -> bool:
        """Below zero lies what is rather the negative of the query."""
        return False

    def work(self, context: Context) -> MethodWork:
        """Images are compared, without any network."""
        return MethodWork(NO_WORK)

    def start(self, context: Context) -> Scorer:
        """Nothing is shared: the training images are read block by block for every query."""

        def score(query: int) -> Scored:
            query_vector = torch.nn.functional.normalize((context.queries.images[query] - self.zero).flatten(), dim=0)
            parts = []
            for start in range(0, len(context.ids), BLOCK):
                block = (context.data.train.images(context.ids[start : start + BLOCK]) - self.zero).flatten(1)
                parts.append(torch.nn.functional.normalize(block, dim=1) @ query_vector)
            return Scored(torch.cat(parts))

        return score
