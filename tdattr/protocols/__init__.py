"""Protocols: from scores to a verdict. A protocol sees scores and models' images, never methods."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.artifacts import Artifact


@dataclass(frozen=True)
class Scores:
    """A method's scores: float32 [query, target], and the ids of the training items that are its columns.

    With ``dampings`` the values are [query, damping, target]; with ``groups``, their names, [query, group].
    """

    values: Float[Tensor, "query *damping target"]
    ids: Int[np.ndarray, " target"]
    dampings: list[float] | None = None
    groups: list[str] | None = None

    def top(self, k: int) -> Int[np.ndarray, "query k"]:
        """The ids of the ``k`` highest scores of every query, best first; ties in the order of the ids."""
        order = torch.argsort(self.values, dim=1, descending=True, stable=True)[:, :k]
        return self.ids[order.numpy()]


@dataclass(frozen=True)
class Generated:
    """Images of one model for the run's queries: the attributed ones first, then the controls."""

    images: Float[Tensor, "query channel height width"]
    attributed: int


class Counterfactuals(Protocol):
    """What the chain of stages does for a protocol."""

    def similarities(
        self, first: Float[Tensor, "query channel height width"], second: Float[Tensor, "query channel height width"]
    ) -> dict[str, Float[np.ndarray, " query"]]:
        """How alike the images of each pair are, by every measure of the run; higher = more alike."""
        ...

    def regenerate(self, removed: Int[np.ndarray, " id"]) -> tuple[Generated, Artifact]:
        """Retrain without those ids and generate the queries again from their own seeds."""
        ...

    def original(self) -> Generated:
        """The queries as F1 generated them."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the run."""
        ...

    def train(self, removals: list[Int[np.ndarray, " _id"]], repeats: int) -> list[list[Artifact]]:
        """The models without each of those sets of ids, ``repeats`` of each under the run's seed and those after it."""
        ...

    def groups(self) -> dict[str, Int[np.ndarray, " _id"]]:
        """The groups of the training items, of those that F1 has seen."""
        ...

    def items(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What is known of the training items that F1 has seen, and of the item that each explained query takes its
        condition from."""
        ...

    def query_losses(self, models: list[Artifact], draws: int) -> Float[np.ndarray, "model query"]:
        """The loss of every explained query under each model, a mean over ``draws`` levels and noise images of the
        training distribution that are the same for all queries and models."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What a protocol found: numbers for ``summary.json``, a table with a row per query, and what to print.

    ``title``: how much was done, as the report's titles say it, for example ``k = 24``.
    """

    summary: dict[str, Any]
    table: list[dict[str, Any]]
    title: str
    artifacts: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


class Evaluation(Protocol):
    """A ``protocol`` config node."""

    others: ClassVar[tuple[str, ...]]  # settings that hold methods whose scores it needs too; one that is None is not
    takes_groups: ClassVar[bool]  # whether it judges scores of groups
    takes_grid: ClassVar[bool]  # whether it can judge the scores of several dampings at once
    takes_controls: ClassVar[bool]  # whether the control images can be explained instead of the attributed ones

    def check(self, items: int, queries: int) -> None:
        """Raise UserError for settings that cannot work with so many training items and attributed queries."""
        ...

    def evaluate(self, scores: Scores, others: Mapping[str, Scores], models: Counterfactuals) -> Verdict:
        """Judge ``scores`` with the help of those of the methods that ``others`` names."""
        ...
