"""The memory that a step of the training of F1 takes where it is differentiated, found before there is any F1: the step
is taken on PyTorch's meta device, whose tensors have shapes but no data."""

import logging
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.diffusion.batch import Batch
from tdattr.errors import first_line
from tdattr.metagradients.peak import count_peak
from tdattr.metagradients.state import PARTS, outline
from tdattr.methods import Context
from tdattr.networks import Given
from tdattr.seeding import generator

if TYPE_CHECKING:
    from tdattr.metagradients.step import Step

log = logging.getLogger(__name__)
META = torch.device("meta")
CPU_GAPS = 1.7  # what a CPU's heap takes for as many bytes of tensors, at most (benchmarks/step_memory.py)


def count_back(context: Context, outputs: int) -> int:
    """The bytes that a step back for so many outputs allocates, or the step itself of a whole batch where that is more,
    as it may be where a step back takes a batch in parts; 0 where it is not known."""
    step, pairs, size = blank_step(context), context.trainer.metagradient_batch, context.train.batch_size
    each = step.split(size, pairs)
    few = min(outputs, 2 * max(1, pairs // each))  # further outputs and items are differentiated as these are
    state, after = blank(step), torch.empty(len(PARTS), few, step.layout.size, device=META)
    part, whole = blank_batch(context, min(size, 2 * each)), blank_batch(context, size)

    def go_forward() -> Tensor:
        return step.gradient(state[: step.layout.size], blank_counts(whole), step.embed(whole), 0)

    back = count(context, lambda: step.pull(state, part, 0, after, pairs))
    if each >= size or not back:  # then the whole batch is in it, or nothing is known
        return back
    return max(back, count(context, go_forward))


def count_along(context: Context) -> int:
    """The bytes that a step forward with its derivative allocates; 0 where it is not known."""
    step, batch = blank_step(context), blank_batch(context, context.train.batch_size)
    state, counts = blank(step), blank_counts(batch)
    return count(context, lambda: step.push(state, state, counts, counts, batch, 0))


def count(context: Context, compute: Callable[[], object]) -> int:
    """The bytes of ``count_peak``, with the gaps of a CPU's heap; 0 where it fails, which the log tells."""
    try:
        return round(count_peak(compute) * (CPU_GAPS if context.device.type == "cpu" else 1))
    except Exception as error:  # an estimate must not end a run, whatever a network of one's own raises
        log.warning("What a step takes of the memory is not known before it is taken: %s.", first_line(error))
        return 0


def blank_step(context: Context) -> "Step":
    """Of the network on the meta device."""
    from tdattr.metagradients.step import Step  # Lightning takes seconds to import

    network = deepcopy(context.skeleton()).to(META).train()  # whoever shares the skeleton keeps it
    return Step(network, outline(network), context.diffusion, context.train.in_steps(len(context.ids)), context.seed)


def blank(step: "Step") -> Float[Tensor, " state"]:
    """A state there."""
    return torch.empty(len(PARTS) * step.layout.size, device=META)


def blank_batch(context: Context, size: int) -> Batch:
    """A batch of so many items as the training has them, there."""
    x, noise = (torch.empty(size, *context.queries.x.shape[1:], device=META) for _ in range(2))
    level = context.diffusion.training_levels(generator(context.seed, "blank.level"), size)
    condition = context.data.train.condition(np.resize(context.ids, size))
    drop = None if condition is None else torch.zeros(size, dtype=torch.bool)
    augmentation = torch.zeros(size, dtype=torch.long) if context.train.augmentation.enabled else None
    return Batch(x, level, noise, Given(condition, drop, augmentation)).to(META)


def blank_counts(batch: Batch) -> Float[Tensor, " batch"]:
    """What its items count, there."""
    return torch.empty(len(batch), device=META)
