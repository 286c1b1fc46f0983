"""None: the scores are what is wanted. Nothing is retrained, so nothing says whether they are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tdattr.counterfactuals import Counterfactuals
from tdattr.data.names import FIELD
from tdattr.errors import UserError
from tdattr.experiments import ITSELF
from tdattr.ids import Ids
from tdattr.protocols import Judged, Protocol, ProtocolSetup, Verdict
from tdattr.queries import Queries
from tdattr.ranges import Count, Part
from tdattr.scores import Scores
from tdattr.store import Plan
from tdattr.tables import DataFrame
from tdattr.wording import counted

PRINTED_QUERIES = 10
PRINTED_TARGETS = 3  # of each
TITLE = "scores only"
TITLE_ITSELF = "scores of items for themselves"


@dataclass(frozen=True)
class ScoresOnly(Protocol):
    """The ``protocol=none`` node. ``k``, or ``share`` of the training items where it is null: how many of the highest
    scores of a query are wanted, of which a method may leave the others open; both null: every score."""

    takes_controls: ClassVar = True
    takes_itself: ClassVar = True
    judges: ClassVar = False

    name: str
    k: Count | None
    share: Part | None

    def unread(self) -> dict[str, str]:
        """The share, where k is given."""
        return {} if self.k is None else {"share": f"k={self.k}"}

    def top(self, items: int) -> int | None:
        """So many, at least one."""
        if self.k is not None:
            return self.k
        return None if self.share is None else max(1, round(self.share * items))

    def check(self, setup: ProtocolSetup) -> None:
        """There must be as many items. Raises UserError."""
        items = len(setup.items)
        if self.k is not None and self.k > items:
            raise UserError(
                f"protocol.k={self.k} is more than the {counted(items, 'training item')} there are: lower it."
            )

    def work(self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals) -> Sequence[Plan]:
        """Nothing is trained or generated for it."""
        return ()

    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """The highest scores of every query, or of items for themselves and the pairs that share most."""
        if scores.twins is not None:
            return show_itself(scores, models.items())
        table, items = scores.table(PRINTED_TARGETS), models.items()
        named = name_items(items)
        rows: list[dict[str, Any]] = []
        lines = []
        for (query, best), label in zip(table.groupby("query"), queries.labels, strict=True):
            targets = [str(named.get(target, target)) for target in best["id" if scores.groups is None else "group"]]
            values = best["score"].tolist()
            rows.append({"query": query, "label": label, "named": targets[0], "score": values[0]})
            found = ", ".join(f"{target} {value:.3g}" for target, value in zip(targets, values, strict=True))
            lines.append(f"{label}: {found}")
        more = [f"and {len(lines) - PRINTED_QUERIES} more queries"] if len(lines) > PRINTED_QUERIES else []
        wanted = self.top(len(scores.ids))
        summary = {} if wanted is None or scores.groups is not None else {"k": wanted}
        return Verdict(summary, rows, TITLE, lines=[*lines[:PRINTED_QUERIES], *more])


def show_itself(scores: Scores, items: DataFrame) -> Verdict:
    """The items that depend on themselves most, and the pairs that share most of that."""
    named = name_items(items)
    best = scores.table()
    highest = [
        {"id": int(index), "named": named[index], "score": float(score)}
        for index, score in zip(best["id"], best["score"], strict=True)
    ]
    pairs = [
        {"ids": [first, second], "named": f"{named[first]} and {named[second]}", "shared": shared}
        for first, second, shared in scores.pairs()
    ]
    alone = ", ".join(f"{row['named']} {row['score']:.3g}" for row in highest)
    together = ", ".join(f"{row['named']} {row['shared']:.3g}" for row in pairs)
    lines = [f"depend most on themselves: {alone}", f"share most, of 1: {together}"]
    table = [{"query": 0, "label": ITSELF, "named": highest[0]["named"], "score": highest[0]["score"]}]
    return Verdict({ITSELF: {"highest": highest, "pairs": pairs}}, table, TITLE_ITSELF, lines=lines)


def name_items(items: DataFrame) -> dict[int, str]:
    """What each training item is called: by its name, or by its id where it has none."""
    names = items[FIELD] if FIELD in items else items["id"].map(str)
    return dict(zip(items["id"].tolist(), names.tolist(), strict=True))
