"""The memory that a step of the training of F1 takes where it is differentiated, before there is any F1."""

import logging
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch

from tdattr.diffusion.batch import Batch
from tdattr.metagradients.peak import count_peak
from tdattr.metagradients.state import PARTS, outline
from tdattr.methods import Context
from tdattr.networks import Given
from tdattr.seeding import generator

if TYPE_CHECKING:
    from tdattr.metagradients.step import Step

log = logging.getLogger(__name__)
META = torch.device("meta")


def count_back(context: Context, outputs: int) -> int:
    """The bytes that a step back for so many outputs makes, activations among them; 0 where that is unknown."""
    step, batch, pairs = blank_step(context), blank_batch(context), context.trainer.metagradient_batch
    state, after = blank(step), torch.empty(len(PARTS), outputs, step.layout.size, device=META)
    return count(lambda: step.pull(state, batch, 0, after, pairs))


def count_along(context: Context) -> int:
    """The same of a step forward with its derivative."""
    step, batch = blank_step(context), blank_batch(context)
    state, counts = blank(step), torch.empty(len(batch), device=META)
    return count(lambda: step.push(state, state, counts, counts, batch, 0))


def count(compute: Callable[[], object]) -> int:
    """See ``count_peak``; 0 where it raises RuntimeError, which the log tells."""
    try:
        return count_peak(compute)
    except RuntimeError as error:
        log.warning("What a step takes of the memory is not known before it is taken: %s.", str(error).rstrip("."))
        return 0


def blank_step(context: Context) -> "Step":
    """Of a network without numbers."""
    from tdattr.metagradients.step import Step  # Lightning takes seconds to import

    network, config = deepcopy(context.skeleton()).to(META), context.train.in_steps(len(context.ids))
    return Step(network, outline(network), context.diffusion, config, context.seed)


def blank(step: "Step") -> torch.Tensor:
    """A state without numbers."""
    return torch.empty(len(PARTS) * step.layout.size, device=META)


def blank_batch(context: Context) -> Batch:
    """A batch of the training, without numbers."""
    size = context.train.batch_size
    x, noise = (torch.empty(size, *context.queries.x.shape[1:], device=META) for _ in range(2))
    level = context.diffusion.training_levels(generator(context.seed, "blank.level"), size)
    condition = context.data.train.condition(np.resize(context.ids, size))
    drop = None if condition is None or not context.skeleton().has_null else torch.zeros(size, dtype=torch.bool)
    augmentation = torch.zeros(size, dtype=torch.long) if context.train.augmentation.enabled else None
    return Batch(x, level, noise, Given(condition, drop, augmentation)).to(META)
