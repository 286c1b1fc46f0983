"""Backward through a training: what every item's weight does to the queries' outputs, all queries together."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import PARTS, find_part
from tdattr.metagradients.step import Step


class Cotangents(NamedTuple):
    """The derivatives of every query's output: by the parts of the state before a step, and so far by what items count.
    ``longest``: the greatest length so far of those by the network's weights."""

    state: Float[Tensor, "part query parameter"]
    items: Float[Tensor, "query item"]
    longest: Float[Tensor, " query"]


def begin_at_end(outputs: Float[Tensor, "query parameter"], items: int, kept: str) -> Cotangents:
    """Those after the last step, of the derivatives by the trained weights (``raw``) or their average (``ema``)."""
    state = outputs.new_zeros(len(PARTS), *outputs.shape)
    state[find_part(kept)] = outputs
    return Cotangents(state, outputs.new_zeros(len(outputs), items), outputs.new_zeros(len(outputs)))


def step_back(
    step: Step, training: Training, state: Tensor, number: int, after: Cotangents, pairs: int | None
) -> Cotangents:
    """Those before a step, in place of those ``after`` it. ``state``: the one before it; ``pairs``: of query and item
    at once, None: all."""
    batch = training.batches[number].to(state.device)
    by_count = step.pull(state, batch, number, after.state, pairs)
    slots = torch.from_numpy(training.batches.slots(number)).to(state.device)
    longest = torch.maximum(after.longest, after.state[find_part("raw")].norm(dim=1))
    return Cotangents(after.state, after.items.index_add(1, slots, by_count), longest)
