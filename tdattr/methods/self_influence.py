"""Self-influence: how much every training item depends on itself, and the other one that it shares most of that with.

What a model has memorised, and wrong labels, depend on themselves most (Pruthi et al. 2020, arXiv 2002.08484, section
4.1). An item that is there twice need not; but each of the two does for the other what it does for itself.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.ids import Ids, digest_ids
from tdattr.methods import Context, Scored
from tdattr.queries import Queries
from tdattr.scores import Twins
from tdattr.scoring.projection import spans

ROWS = 1024  # items that are compared with all others at a time
Influence = Callable[[slice, slice], Float[Tensor, "item other"]]  # of the items of a second slice on those of a first


def score_itself(ids: Ids, influence: Influence) -> Scored:
    """The influence of every item on itself, and its twin: the other item for which what the two do to each other is
    nearest to what they do to themselves. It is a share of that, or, where it is more, that is a share of it: only of
    copies need the two be the same."""
    every, parts = slice(0, len(ids)), list(spans(len(ids), ROWS))
    own = torch.cat([influence(rows, rows).diagonal() for rows in parts])
    twins, shared = [], []
    for rows in parts:
        mutual = influence(rows, every) + influence(every, rows).T
        total = own[rows, None] + own
        shares = torch.where(total > 0, mutual / torch.maximum(total, mutual.square() / total), 0)
        shares[:, rows].fill_diagonal_(-torch.inf)
        share, twin = shares.max(1)
        twins.append(torch.from_numpy(ids)[twin])
        shared.append(share)
    return Scored(own, twins=Twins(torch.cat(twins), torch.cat(shared)))


def ask_items(context: Context, blank: bool = False) -> Context:
    """With the training items in place of the queries; ``blank``: of the right number, but not read."""
    split, ids = context.data.train, context.ids
    if blank:
        x = images = context.queries.x[:1].expand(len(ids), *context.queries.x.shape[1:])
    else:
        x, images = split.x(ids, mirrored=False), split.images(ids)
    address = f"items/{digest_ids(ids)}"
    items = Queries(x, images, split.condition(ids), split.items.iloc[ids], address, slice(0, len(ids)))
    return replace(context, queries=items)
