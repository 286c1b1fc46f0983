"""Condition similarity: which training items were conditioned most like the generated one (MUCS §4)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NO_WORK
from tdattr.errors import UserError
from tdattr.features.text import TextEncoder
from tdattr.methods import Context, Method, MethodSetup, MethodWork, Scored, Scorer

PROMPT = "prompt"  # the field of an item's first caption


@dataclass(frozen=True)
class Condition(Method):
    """Cosine of condition vectors (one-hot classes, CLIP texts); of an item's captions, the first counts.

    ``labels``: a field of the items that stands for the condition of an unconditional model; a query has that of the
    test item that its number belongs to. ``text``: makes the vectors of prompts, where conditions are token ids.
    """

    name: str
    labels: str | None
    text: TextEncoder | None

    @property
    def signed(self) -> bool:
        """A cosine."""
        return False

    def unread(self) -> dict[str, str]:
        """Labels, where prompts are compared."""
        return {} if self.text is None else {"labels": f"text={self.text.name}"}

    def check_text(self, text: TextEncoder | None) -> None:
        """Token ids are no vectors."""
        if text is not None and text.gives_ids and (self.text is None or self.text.gives_ids):
            raise UserError(
                f"method={self.name} compares vectors, and this model's conditions are token ids: choose what makes "
                "vectors of prompts, text@method.text=pipeline, in an ensemble "
                "text@method.members.condition.text=pipeline."
            )

    def check(self, setup: MethodSetup) -> None:
        """It needs conditions, labels or prompts."""
        fields = [str(name) for name in setup.data.train.items if name != "id"]
        if self.text is not None and PROMPT not in fields:
            raise UserError(f"method={self.name} compares prompts, which the items lack: set method.text=null.")
        known = fields if setup.query_fields is None else setup.query_fields
        if self.text is not None and PROMPT not in known:
            raise UserError(f"method={self.name} compares prompts, which the queries lack: set method.text=null.")
        if self.text is not None or setup.data.condition_size:
            return
        if self.labels is None:
            raise UserError(
                f"method={self.name} compares conditions but the dataset has none: choose another method, one with "
                "dataset.source.condition, or a field of the items with method.labels."
            )
        if self.labels not in fields:
            raise UserError(f"method.labels={self.labels} is no field of the items: choose one of {', '.join(fields)}.")
        if self.labels not in known:
            raise UserError(
                f"method.labels={self.labels} is not known of the queries, which are no items of the dataset: choose "
                "another method."
            )

    def work(self, context: Context) -> MethodWork:
        """Vectors are compared."""
        return MethodWork(NO_WORK)

    def start(self, context: Context) -> Scorer:
        """The vectors of prompts, or the conditions or labels, of the training items."""
        conditions = context.data.train.condition(context.ids)
        if self.text is not None:
            items = context.data.train.items[PROMPT].iloc[context.ids].tolist()
            return compare(*embed(self.text, [items, context.queries.items[PROMPT].tolist()], context.device))
        if conditions is None:
            values = context.data.train.items[self.labels].to_numpy()[context.ids]
            queries = context.queries.items[self.labels].to_numpy()
            return lambda query: Scored(torch.from_numpy(values == queries[query]).float())
        assert context.queries.conditions is not None
        return compare(conditions, context.queries.conditions)


def embed(text: TextEncoder, prompts: list[list[str]], device: torch.device) -> list[Float[Tensor, "prompt size"]]:
    """The vectors of some lists of prompts; each distinct prompt is encoded once."""
    distinct = list(dict.fromkeys(prompt for part in prompts for prompt in part))
    vectors = torch.from_numpy(text.load(device)(distinct))
    places = {prompt: place for place, prompt in enumerate(distinct)}
    return [vectors[[places[prompt] for prompt in part]] for part in prompts]


def compare(items: Float[Tensor, "item *condition"], queries: Float[Tensor, "query *condition"]) -> Scorer:
    """The cosine of a query's vector and that of each item."""
    targets, query_vectors = (
        torch.nn.functional.normalize(vectors.flatten(1).float(), dim=1) for vectors in (items, queries)
    )
    return lambda query: Scored(targets @ query_vectors[query])
