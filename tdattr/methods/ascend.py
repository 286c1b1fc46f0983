"""F1 after plain gradient ascent on one query: what Forward-INF and AbU score by."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from tdattr.methods import Context
from tdattr.networks import Network
from tdattr.unlearning.ascent import Ascent, QueryBatches


def ascend(
    context: Context,
    query: int,
    trainable: str,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    batch_size: int,
    steps: int,
    accumulate: int = 1,
) -> Network:
    """A copy of F1 after ``steps`` of the optimiser on the part ``trainable``, on the context's device.

    A step takes the mean gradient of ``accumulate`` batches of noisy copies of the query.
    """
    from tdattr.unlearning.module import Unlearning, unlearn  # Lightning takes seconds to import

    network = context.f1.load()
    names = network.parameter_names(trainable)
    module = Unlearning(network, Ascent(context.diffusion), optimizer, trainable=names, check_first=False)
    condition = None if context.queries.conditions is None else context.queries.conditions[query]
    batches = QueryBatches(context.diffusion, context.queries.x[query], condition, batch_size, context.seed, query)
    label, curve = f"Unlearning query {query}", context.recorder.curve("unlearn", f"query {query}")
    unlearn(module, batches, steps, context.trainer, accumulate=accumulate, label=label, curve=curve)
    return network.to(context.device)
