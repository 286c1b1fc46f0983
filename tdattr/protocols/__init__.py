"""Protocols: from scores to a verdict. A protocol sees scores, queries and models, never methods."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from tdattr.configs import Node
from tdattr.counterfactuals import Counterfactuals
from tdattr.ids import Ids
from tdattr.queries import Queries
from tdattr.scores import Attributor, Scores
from tdattr.store import Plan
from tdattr.tables import DataFrame


@dataclass(frozen=True)
class Verdict:
    """What a protocol finds."""

    summary: dict[str, Any]  # numbers for ``summary.json``
    table: list[dict[str, Any]]  # a row per query
    title: str  # what a report's title says of the settings, for example "k = 24"
    artifacts: dict[str, str] = field(default_factory=dict)  # names, by role
    lines: list[str] = field(default_factory=list)  # to print
    warnings: list[str] = field(default_factory=list)  # sentences on why the numbers may say less than they seem to


@dataclass(frozen=True)
class ProtocolSetup:
    """What a protocol may check before anything is trained."""

    items: DataFrame  # what is known of the training items that F1 sees, a row each
    queries: DataFrame  # and of the item that each explained query takes its condition from
    groups: list[str]  # their names, where the protocol judges groups
    training: Mapping[str, Any] = field(default_factory=dict)  # what F1's weights depend on, but for the dataset
    members: Mapping[str, Ids] = field(default_factory=dict)  # of the groups
    explained: slice = field(default_factory=lambda: slice(None))  # which of the run's queries these are


@dataclass(frozen=True)
class Sampled:
    """Queries that were sampled elsewhere."""

    x: Float[Tensor, "query *x"]  # as the sampler left them
    images: Float[Tensor, "query channel height width"]  # in [-1, 1]


@dataclass(frozen=True)
class Judged:
    """What is known of scores before a protocol judges them: their address, and themselves where they are stored."""

    address: str
    scores: Scores | None


class Protocol(Node, ABC):
    """A ``protocol`` config node: a frozen dataclass whose fields are its constants.

    ``needs``: what it asks of its ``Counterfactuals``: ``groups``, ``retraining``, ``measures``; and
    ``generation``, as it generates the queries again, which a user's own pictures cannot be. The address of its verdict
    then contains the groups, how models are trained, or the measures; what is not declared is refused when it is asked
    for.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    judges_groups: ClassVar[bool] = False  # rather than training items
    judges: ClassVar[bool] = True  # False: it shows scores of items or of groups, and says nothing of how good they are
    takes_itself: ClassVar[bool] = False  # it can show the scores of training items for themselves
    takes_grid: ClassVar[bool] = False  # it can judge the scores of several dampings at once
    takes_controls: ClassVar[bool] = False  # the control images can be explained instead of the attributed ones

    name: str

    def others(self) -> Mapping[str, Attributor]:
        """Methods whose scores it needs too, by their role; the pipeline scores them."""
        return {}

    def sampled(self) -> Sampled | None:
        """The queries that it judges, in the order of the run's; None: F1 generates them."""
        return None

    def top(self, items: int) -> int | None:
        """How many of the highest scores of so many items it asks for, and nothing else of the scores; None: all."""
        return None

    def compared(self, items: int) -> Mapping[str, float]:
        """Those of its settings that runs are compared by, under short names. ``items``: that F1 sees."""
        return {}

    def headline(self, summary: Mapping[str, Any], table: DataFrame) -> dict[str, float]:
        """The main numbers of a verdict, of which these are the summary and the table, and the ends of their intervals,
        under short names: ``lds``, ``lds_low``, ``lds_high``."""
        return {}

    def check_settings(self, queries: int) -> None:
        """Raise UserError for settings that cannot work with any items, or with so many queries; before the dataset is
        prepared."""
        return None

    def check(self, setup: ProtocolSetup) -> None:
        """Raise UserError for settings that cannot work with such items and queries."""
        return None

    def work(
        self, scores: Judged, others: Mapping[str, Judged], items: Ids, models: Counterfactuals
    ) -> Sequence[Plan] | None:
        """The artifacts that ``evaluate`` asks of ``models``, for ``plan=true``: nothing is computed. ``items``: the
        ids that F1 is trained on. None: unknown."""
        return None

    @abstractmethod
    def evaluate(
        self, scores: Scores, others: Mapping[str, Scores], queries: Queries, models: Counterfactuals
    ) -> Verdict:
        """Judge ``scores`` with the help of those of ``others``; ``queries``: those that were scored. Whatever takes
        long is asked of ``models``, which store it."""


def name_interval(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    """A mean and the ends of its interval, where it has one, as a `Protocol.headline` names them."""
    numbers = {name: values["mean"], f"{name}_low": values["low"], f"{name}_high": values["high"]}
    return {key: value for key, value in numbers.items() if value is not None}
