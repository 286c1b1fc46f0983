"""A protocol of one's own: how much of all influence do the few highest scores hold?"""

from collections.abc import Mapping
from dataclasses import dataclass

from tdattr.counterfactuals import Counterfactuals
from tdattr.errors import UserError
from tdattr.protocols import Protocol, ProtocolSetup, Verdict
from tdattr.queries import Queries
from tdattr.scores import Scores


@dataclass(frozen=True)
class TopShare(Protocol):
    """The share of the positive scores of a query that its ``k`` highest ones hold. Nothing is trained for it."""

    name: str
    k: int

    def check(self, setup: ProtocolSetup) -> None:
        """There must be more than k items."""
        if not 1 <= self.k < len(setup.items):
            raise UserError(f"protocol.k={self.k} must be at least 1 and below the {len(setup.items)} items.")

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """One number for each query, and their mean."""
        positive = scores.values.clamp(min=0)
        shares = positive.topk(self.k, dim=1).values.sum(1) / positive.sum(1).clamp(min=1e-12)
        mean = float(shares.mean())
        table = [{"query": query, "share": float(share)} for query, share in enumerate(shares)]
        lines = [f"the {self.k} highest scores hold {100 * mean:.1f} %"]
        return Verdict({"top_share": mean}, table, lines=lines, title=f"k = {self.k}")
