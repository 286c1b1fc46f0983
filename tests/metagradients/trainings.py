"""Small trainings that tests differentiate, and run with other weights of their items."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import Layout, outline
from tdattr.metagradients.step import Step
from tdattr.networks import Network
from tdattr.training.batches import Batches
from tdattr.training.keep_base import keep_base

STEPS, SEED = 10, 3
CPU = torch.device("cpu")


def make(
    tiny_data: Any,
    tiny_dit: Any,
    tiny_train: Any,
    edm: Any,
    dropout: float = 0.0,
    removed: Sequence[int] = (),
    **changes: Any,
) -> Training:
    config = tiny_train(**({"steps": STEPS, "epoch_steps": 5, "schedule": "constant"} | changes))
    config = config.in_steps(len(tiny_data.train))
    tiny_data.train.open_x(config.mirror)
    network = tiny_dit(dropout=dropout, augmentation_label=config.augmentation.enabled)
    keep_base(network, config, SEED)
    ids = np.setdiff1d(np.arange(len(tiny_data.train)), removed)
    return Training(network, Batches(tiny_data.train, ids, edm, config, SEED), CPU)


def in_double(training: Training, network: Network, counts: Tensor | None = None) -> tuple[Step, Layout, Tensor]:
    """Let a training be one of ``network`` in double precision, whose items of the split count ``counts``: a step of
    it, where its parameters stand, and the state at its beginning."""
    made, training.network = training.batches, network
    training.batches = DoubleBatches(made.split, made.ids, made.diffusion, made.config, made.seed, counts=counts)
    layout = outline(network)
    row = layout.join(dict(network.named_parameters()))
    zero = torch.zeros_like(row)
    return Step(network, layout, made.diffusion, made.config, SEED), layout, torch.cat([row, zero, zero, row])


def run(step: Step, training: Training, state: Tensor, counts: Tensor) -> Tensor:
    """The state after the whole training in which items count so much."""
    for number in range(STEPS):
        slots, batch = torch.from_numpy(training.batches.slots(number)), training.batches[number]
        there = counts[slots] if batch.counts is None else counts[slots] * batch.counts
        state = step(state, there, batch, number)
    return state


def train(training: Training, network: Network, counts: Tensor) -> Tensor:
    """The same by the optimiser of torch, of a training of a copy of ``network``, which is in double precision."""
    made = training.batches
    counted = counts if made.counts is None else counts * made.counts
    batches = DoubleBatches(made.split, made.ids, made.diffusion, made.config, made.seed, counts=counted)
    again = Training(deepcopy(network), batches, CPU)
    *_, last = again.states(outline(again.network), 0, STEPS, None)
    return last


class DoubleBatches(Batches):
    """Batches in double precision."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index).apply(lambda value: value.double() if value.is_floating_point() else value)
