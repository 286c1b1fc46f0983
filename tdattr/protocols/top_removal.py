"""What protocols share that remove the training items with the highest scores of every query, and retrain."""

from collections.abc import Mapping
from dataclasses import dataclass

from tdattr.errors import UserError
from tdattr.protocols import Protocol, ProtocolSetup
from tdattr.ranges import Count, Part
from tdattr.wording import counted

MIN_SHARE_LEFT = 0.05  # of the items, for a retraining


@dataclass(frozen=True)
class TopRemoval(Protocol):
    """``k`` items per query, or ``share`` of the training set where it is null."""

    name: str
    k: Count | None
    share: Part

    def unread(self) -> dict[str, str]:
        """The share, where k is given."""
        return {} if self.k is None else {"share": f"k={self.k}"}

    def top(self, items: int) -> int:
        """k: the scores say what is removed, and no more."""
        return self.removed_per_query(items)

    def compared(self, items: int) -> Mapping[str, float]:
        """k."""
        return {"k": self.removed_per_query(items)}

    def removed_per_query(self, items: int) -> int:
        """k for a training set of that size."""
        return self.k if self.k is not None else round(self.share * items)

    def check(self, setup: ProtocolSetup) -> None:
        """k must leave something to train on."""
        items, queries = len(setup.items), len(setup.queries)
        k = self.removed_per_query(items)
        if not 1 <= k < items:
            setting = f"protocol.k={self.k}" if self.k is not None else f"protocol.share={self.share}"
            raise UserError(
                f"{setting} removes {counted(k, 'item')} per query, but it must be at least 1 and below the {items} "
                "there are."
            )
        left = items * (1 - k / items) ** queries
        if left < MIN_SHARE_LEFT * items:
            raise UserError(
                f"Removing {counted(k, 'item')} for each of {counted(queries, 'query')} at random leaves about "
                f"{left:.0f} of {items}: lower protocol.k, protocol.share or queries.attributed."
            )
