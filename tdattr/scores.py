"""A method's scores, and how they lie in an artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.configs import Node
from tdattr.files import to_json
from tdattr.store import Artifact
from tdattr.tables import REBUILD, DataFrame, read_json

FILE = "scores.safetensors"
IDS = "ids.npy"
GROUPS = "groups.json"  # of a method that scores groups: the names of the columns
DAMPINGS = "dampings.json"  # of a method that was run with a grid of them
LISTED = 8  # of a query that people are shown: their scores are exact, also where others are estimates
TWINS, SHARED = "twins", "shared"
DECIDED = "decided.json"  # of a method that decides only the highest scores: how many
DAMPING_UNIT = "published unit: the projection's dimension times what is added to a kernel of kept lengths"


class Attributor(Node):
    """A config node whose scores can be asked for: what a protocol knows of a method."""

    scores_groups: ClassVar[bool] = False  # the columns of its scores are groups, not training items

    name: str

    @property
    def decides_top(self) -> bool:
        """Whether it decides only which items have the highest scores, as many as the protocol asks for: what it says
        of the others is no score."""
        return False

    @property
    def dampings(self) -> list[float] | None:
        """The values that are scored with, where that is more than one."""
        return None

    @property
    def scores_itself(self) -> bool:
        """Whether it says how much every training item depends on itself, in place of what queries depend on."""
        return False

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds that it retrains under, counted from the run's."""
        return ()


@dataclass(frozen=True)
class Twins:
    """Of every training item the id of the other one that it shares most of its influence with, and how much: what the
    two do to each other, as a share of what they do to themselves; 1 of an item and its copy."""

    ids: Int[Tensor, "*query target"]
    shared: Float[Tensor, "*query target"]


@dataclass(frozen=True)
class Scores:
    """float32 [query, target], higher = more influential, and the ids of the training items that are its columns.

    With ``dampings``, in ``DAMPING_UNIT``, the values are [query, damping, target]; with ``groups``, their names,
    [query, group], and ``ids`` are those of all items.
    ``standard_errors``: of the values, where the method estimates them. ``decided``: which are the so many highest of
    each query; the values of the others are no scores. None: all are scores.
    ``twins``: of scores that say how much every item depends on itself, in a single row.
    """

    values: Float[Tensor, "query *damping target"]
    ids: Int[np.ndarray, " item"]  # of the columns, or of all items of the groups
    dampings: list[float] | None = None
    groups: list[str] | None = None
    standard_errors: Float[Tensor, "query *damping target"] | None = None
    decided: int | None = None
    twins: Twins | None = None

    def top(self, k: int) -> Int[np.ndarray, "query k"]:
        """The ids of the ``k`` highest scores of every query, best first; ties in the order of the ids. Raises
        ValueError for another number than was ``decided``, but for a list of at most ``LISTED``."""
        if self.decided not in (None, k) and k > LISTED:
            raise ValueError(f"which are the {self.decided} highest scores of every query is known, not which {k} are")
        order = torch.argsort(self.values, dim=1, descending=True, stable=True)[:, :k]
        return self.ids[order.numpy()]

    def rank(self, top: int, lowest: int = 0) -> tuple[Int[np.ndarray, " rank"], Int[Tensor, "query rank"]]:
        """The ranks, from 1, and columns of the ``top`` highest scores of every query and of so many ``lowest`` ones
        that are not among them, best first; ties in the order of the columns. Where only the highest are decided, none
        of the lowest."""
        count = self.values.shape[1]
        lowest = 0 if self.decided is not None else min(lowest, max(0, count - top))
        order = torch.argsort(self.values, dim=1, descending=True, stable=True)
        places = np.r_[: min(top, count), count - lowest : count]
        return places + 1, order[:, torch.from_numpy(places)]

    def table(self, top: int = LISTED, items: DataFrame | None = None, lowest: int = 0) -> DataFrame:
        """The ``top`` targets of every query and its ``lowest``, best first: query, rank, the target's id or the
        group's name, its score and, where there are, the score's standard error, the twin and what is shared with it;
        of scores of which only the highest are decided these alone, at most ``LISTED``. With the training ``items``
        also their names, if they have any. Raises ValueError for scores of several dampings."""
        import pandas as pd

        if self.dampings is not None:
            raise ValueError("scores of several dampings have no one order")
        top = top if self.decided is None else min(top, LISTED)
        ranks, order = self.rank(top, lowest)
        count = len(ranks)
        names = np.array(self.groups) if self.groups is not None else self.ids
        columns = {
            "query": np.repeat(np.arange(len(order)), count),
            "rank": np.tile(ranks, len(order)),
            "id" if self.groups is None else "group": names[order.numpy()].ravel(),
            "score": self.values.gather(1, order).numpy().ravel(),
        }
        if self.groups is None and items is not None and "name" in items:
            columns["name"] = items["name"].to_numpy()[columns["id"]]
        if self.standard_errors is not None:
            columns["standard_error"] = self.standard_errors.gather(1, order).numpy().ravel()
        if self.twins is not None:
            columns["twin"] = self.twins.ids.gather(1, order).numpy().ravel()
            columns["shared"] = self.twins.shared.gather(1, order).numpy().ravel()
        return pd.DataFrame(columns)

    def pairs(self, most: int = LISTED) -> list[tuple[int, int, float]]:
        """The pairs of items that share most, the first of them first: both ids and what they share. Raises TypeError
        for scores without twins."""
        if self.twins is None:
            raise TypeError("these scores are not those of items for themselves")
        order = torch.argsort(self.twins.shared[0], descending=True, stable=True)
        pairs: dict[tuple[int, int], float] = {}
        for row in order.tolist():
            first, second = sorted((int(self.ids[row]), int(self.twins.ids[0, row])))
            pairs.setdefault((first, second), float(self.twins.shared[0, row]))
        return [(*pair, shared) for pair, shared in list(pairs.items())[:most]]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return str(self.table().to_html(index=False)) if self.dampings is None else f"<pre>{self!r}</pre>"


def save_scores(scores: Scores, folder: Path) -> None:
    """Write them into a folder."""
    tensors = {"scores": scores.values}
    if scores.standard_errors is not None:
        tensors["standard_errors"] = scores.standard_errors
    if scores.twins is not None:
        tensors |= {TWINS: scores.twins.ids, SHARED: scores.twins.shared}
    save_file(tensors, folder / FILE)
    np.save(folder / IDS, scores.ids)
    for name, content in ((GROUPS, scores.groups), (DAMPINGS, scores.dampings), (DECIDED, scores.decided)):
        if content is not None:
            (folder / name).write_text(to_json(content))


def load_scores(artifact: Artifact) -> Scores:
    """What ``save_scores`` wrote."""
    tensors = load_file(artifact.folder / FILE)

    def optional(name: str) -> Any:
        path = artifact.folder / name
        return read_json(path, REBUILD) if path.exists() else None

    ids = np.load(artifact.folder / IDS)
    errors = tensors.get("standard_errors")
    twins = Twins(tensors[TWINS], tensors[SHARED]) if TWINS in tensors else None
    return Scores(tensors["scores"], ids, optional(DAMPINGS), optional(GROUPS), errors, optional(DECIDED), twins)


def choose_damping(scores: Scores, summary: Mapping[str, Any]) -> Scores:
    """The scores under one damping: the one that the protocol found best, where there are several."""
    if scores.dampings is None:
        return scores
    index = scores.dampings.index(summary["damping"])
    errors = None if scores.standard_errors is None else scores.standard_errors[:, index]
    return replace(scores, values=scores.values[:, index], dampings=None, standard_errors=errors)
