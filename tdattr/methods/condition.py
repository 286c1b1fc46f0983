"""Condition similarity: which training items were conditioned most like the generated one (MUCS §4)."""

from dataclasses import dataclass

import torch

from tdattr.costs import NO_WORK
from tdattr.errors import UserError
from tdattr.methods import Context, Method, MethodSetup, MethodWork, Scored, Scorer


@dataclass(frozen=True)
class Condition(Method):
    """Cosine of condition vectors (one-hot classes, CLIP texts); of an item's captions, the first counts.

    ``labels``: a field of the items that stands for the condition of an unconditional model; a query has that of the
    test item that its number belongs to.
    """

    name: str
    labels: str | None

    def check(self, setup: MethodSetup) -> None:
        """It needs conditions or labels."""
        if setup.data.condition_size:
            return
        if self.labels is None:
            raise UserError(
                f"method={self.name} compares conditions but the dataset has none: choose another method, one with "
                "dataset.source.condition, or a field of the items with method.labels."
            )
        if self.labels not in setup.data.train.items:
            fields = ", ".join(str(name) for name in setup.data.train.items if name != "id")
            raise UserError(f"method.labels={self.labels} is no field of the items: choose one of {fields}.")

    def work(self, context: Context) -> MethodWork:
        """Vectors are compared."""
        return MethodWork(NO_WORK)

    def start(self, context: Context) -> Scorer:
        """The conditions or labels of the training items."""
        conditions = context.data.train.condition(context.ids)
        if conditions is None:
            items = context.data.train.items[self.labels].to_numpy()[context.ids]
            queries = context.queries.items[self.labels].to_numpy()
            return lambda query: Scored(torch.from_numpy(items == queries[query]).float())
        targets, query_vectors = (
            torch.nn.functional.normalize(vectors.flatten(1).float(), dim=1)
            for vectors in (conditions, context.queries.conditions)
            if vectors is not None
        )
        return lambda query: Scored(targets @ query_vectors[query])
