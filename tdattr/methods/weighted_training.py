"""The training of F1 once more, its items counted as much as is asked for."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import Layout, find_weights, outline
from tdattr.metagradients.trajectory import Trajectory
from tdattr.methods import Context
from tdattr.networks import Network
from tdattr.training.batches import Batches


def open_training(context: Context, counts: Float[Tensor, " item"] | None = None) -> tuple[Training, Layout]:
    """The training at its beginning, each batch whole. ``counts``: what the loss of each item of the split is
    multiplied by; None: 1."""
    config = replace(context.train.in_steps(len(context.ids)), accumulate=1)
    context.data.train.open_x(config.mirror)
    batches = Batches(context.data.train, context.ids, context.diffusion, config, context.seed, counts=counts)
    training = Training(context.initial(), batches, context.device)
    return training, outline(training.network)


def train_weighted(context: Context, counts: Float[Tensor, " item"], folder: Path) -> Network:
    """The network after that training, in evaluation mode. It goes on from what an interrupted one left in
    ``folder``."""
    training, layout = open_training(context, counts)
    last = Trajectory(training, layout, folder).train("Training with other weights of items")
    return load_weights(training.network, layout, find_weights(last, context.weights))


def load_weights(network: Network, layout: Layout, weights: Float[Tensor, " parameter"]) -> Network:
    """A network with those trained weights, in evaluation mode."""
    with torch.no_grad():
        for name, value in layout.split(weights).items():
            network.get_parameter(name).copy_(value)
    return network.eval().requires_grad_(False)
