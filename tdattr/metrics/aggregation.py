"""From scores of training items to scores of groups."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.errors import UserError


@dataclass(frozen=True)
class AggregateConfig:
    """The ``aggregate`` node: ``kind``, of ``top`` items where it is ``top_mean``; negative scores first set to zero
    where ``positive_only``."""

    kind: Literal["sum", "mean", "max", "median", "top_mean"]
    top: int
    positive_only: bool

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UserError(f"protocol.aggregate.top={self.top} must be at least 1.")


def aggregate(
    scores: Float[Tensor, "query item"],
    ids: Int[np.ndarray, " item"],
    groups: dict[str, Int[np.ndarray, " _id"]],
    config: AggregateConfig,
) -> Float[Tensor, "query group"]:
    """A column per group, in their order; float64. ``ids``: those of the columns of ``scores``, ascending.

    Raises ValueError for a group with items that have no scores.
    """
    values = scores.double().clamp(min=0) if config.positive_only else scores.double()
    columns = []
    for name, members in groups.items():
        missing = np.setdiff1d(members, ids)
        if len(missing):
            raise ValueError(f"group {name!r} has items without scores, id {missing[0]} for one")
        part = values[:, np.searchsorted(ids, members)]
        if config.kind == "top_mean":
            column = part.topk(min(config.top, part.shape[1]), dim=1).values.mean(1)
        elif config.kind == "median":
            column = part.quantile(0.5, dim=1)
        else:
            column = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[config.kind](part, 1)  # type: ignore[operator]
        columns.append(column)
    return torch.stack(columns, dim=1)
