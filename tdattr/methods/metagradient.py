"""Metagradients: the derivative of a query's loss by the weight of every training item, through the whole training.

MAGIC (Ilyas & Engstrom 2025, arXiv 2504.16430) for language models.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tdattr.costs import NUMBER_BYTES
from tdattr.errors import UserError
from tdattr.metagradients.room import Room, check_room, count_room, fit_queries
from tdattr.methods import Context, Scored, Scorer
from tdattr.methods.all_counted import count_all
from tdattr.methods.self_influence import ask_items, score_itself
from tdattr.methods.step_room import count_back
from tdattr.methods.way_back import PASSES_BACK, WayBack
from tdattr.ranges import Range

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metagradient(WayBack):
    """With ``output=loss`` the score of an item for a query is -dL/dw_i of the query's training loss L, less the mean
    over the items where others replace those that are removed. To first order, L rises by the sum of the scores of k
    of n items that are removed; by n / (n - k) times that sum where others replace them.

    ``self``: every item is a query, as many at a time as there is memory for. ``weight``: what every item counts in the
    training that is differentiated; 1: that of F1.
    """

    added: ClassVar[Mapping[str, Any]] = {"self": False, "weight": 1.0}

    self: bool = False
    weight: Annotated[float, Range(above=0, most=1)] = 1.0

    def __post_init__(self) -> None:
        if self.weight != 1 and self.removal == "replaced":
            raise UserError(
                f"method.weight={self.weight} is for trainings without some items that leave their places empty, so "
                "that less counts in them: set train.removal=empty."
            )
        if self.self and self.output.needs:
            raise UserError(
                "method.self=true asks training items, which were not generated: leave output@method.output=loss, or "
                "choose elbo."
            )

    @property
    def scores_itself(self) -> bool:
        """See ``self``."""
        return self.self

    @property
    def counted(self) -> float:
        """See ``weight``."""
        return self.weight

    def substitute(self, context: Context, blank: bool = False) -> Context:
        """With that training in place of F1's, and of the queries what is asked; ``blank``: see ``ask_items``."""
        context = count_all(context, self.weight)
        return ask_items(context, blank) if self.self else context

    def fit(self, context: Context, weights: int, host: int = 0) -> int:
        """Of the items, as many as there is memory for, beside so many bytes of the host's."""
        outputs = super().fit(context, weights)
        if not self.self:
            return outputs
        items, step = len(context.data.train), count_back(context, outputs)
        return fit_queries(weights, items, context.count_steps(), outputs, step, context.device, host)

    def check_way(self, context: Context, weights: int, root: Path) -> None:
        """Of self-influence, how often it goes back is said as well. Raises UserError."""
        if not self.self:
            super().check_way(context, weights, root)
            return
        items, outputs = len(context.data.train), len(context.queries)
        derivatives = outputs * weights * NUMBER_BYTES  # all are read before the first goes back
        together = self.fit(context, weights, derivatives)
        log.info(
            "Self-influence goes back for each of the %d items, %d at a time: the work of at most %d trainings.",
            outputs, together, PASSES_BACK * outputs + math.ceil(outputs / together),
        )  # fmt: skip
        way = count_room(weights, items, context.count_steps(), together, count_back(context, together))
        needed = Room(way.memory, way.disk + derivatives + 2 * outputs * items * NUMBER_BYTES, derivatives)
        check_room(needed, context.device, root, "lower trainer.metagradient_batch, leave items out with remove.groups")

    def start(self, context: Context) -> Scorer:
        """The way through the training and back, for all queries."""
        context = self.substitute(context)
        derivatives, facts = self.derive(context)
        scores = self.output.score(derivatives.unflatten(0, (-1, self.output.size)))
        if self.self:
            return lambda _: replace(score_itself(context.ids, lambda some, others: scores[some, others]), facts=facts)
        return lambda query: Scored(scores[query], facts)
