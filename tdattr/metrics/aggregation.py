"""From scores of training items to scores of groups."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdattr.ranges import Count


@dataclass(frozen=True)
class AggregateConfig:
    """The ``aggregate`` node: ``kind``, of ``top`` items where it is ``top_mean``; of the scores above zero alone where
    ``positive_only``."""

    kind: Literal["sum", "mean", "max", "median", "top_mean"]
    top: Count
    positive_only: bool


def aggregate(
    scores: Float[Tensor, "query item"],
    ids: Int[np.ndarray, " item"],
    groups: dict[str, Int[np.ndarray, " _id"]],
    config: AggregateConfig,
) -> Float[Tensor, "query group"]:
    """A column per group, in their order; float64. ``ids``: those of the columns of ``scores``, ascending.

    With ``positive_only`` the other scores are left out before anything is counted: a mean is that of the positive
    ones. A group that has none gets 0, as in GUDA's code for CIFAR-10.

    Raises ValueError for a group with items that have no scores.
    """
    columns = []
    for name, members in groups.items():
        missing = np.setdiff1d(members, ids)
        if len(missing):
            raise ValueError(f"group {name!r} has items without scores, id {missing[0]} for one")
        part = scores[:, np.searchsorted(ids, members)].double()
        kept = part > 0 if config.positive_only else torch.ones_like(part, dtype=torch.bool)
        column = summarise(part, kept, config)
        columns.append(torch.where(kept.any(1), column, 0))
    return torch.stack(columns, dim=1)


def summarise(
    scores: Float[Tensor, "query member"], kept: Bool[Tensor, "query member"], config: AggregateConfig
) -> Float[Tensor, " query"]:
    """One number for each query, of the scores that are kept; of no meaning where there are none."""
    counts = kept.sum(1)
    if config.kind in ("sum", "mean"):
        total = scores.where(kept, 0).sum(1)
        return total if config.kind == "sum" else total / counts
    ranked = scores.where(kept, -math.inf).sort(dim=1, descending=True).values  # those that are kept come first
    if config.kind == "max":
        return ranked[:, 0]
    if config.kind == "median":
        middle = torch.stack([(counts - 1).clamp(min=0) // 2, counts // 2], dim=1).clamp(max=ranked.shape[1] - 1)
        return ranked.gather(1, middle).mean(1)
    top = counts.clamp(max=config.top)
    within = torch.arange(ranked.shape[1]) < top[:, None]
    return ranked.where(within, 0).sum(1) / top
