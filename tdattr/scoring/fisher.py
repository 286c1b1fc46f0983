"""The diagonal empirical Fisher information of a network on its training items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.diffusion import Diffusion
from tdattr.networks import NOTHING, Given, Network
from tdattr.progress import track
from tdattr.ranges import Count, PositiveOrZero
from tdattr.scoring.cells import Items
from tdattr.scoring.gradients import BUFFER_VALUES
from tdattr.scoring.projection import spans
from tdattr.seeding import generator, normal
from tdattr.store import Artifact, Build, Plan

FILE = "fisher.safetensors"


@dataclass(frozen=True)
class FisherConfig:
    """``epochs``: how often every item is visited, each time at its own level and noise. ``damping``: this multiple of
    the Fisher information's mean over all parameters is added to it."""

    epochs: Count
    damping: PositiveOrZero


def plan_rounds(
    load: Callable[[], Network],
    diffusion: Diffusion,
    views: Sequence[Items],
    names: list[str],
    config: FisherConfig,
    seed: int,
    batch_size: int,
    plan: Callable[[Mapping[str, int], Build], Plan],
) -> list[Plan]:
    """The rounds of the diagonal Fisher information, each one epoch over one view of the items, as artifacts.

    ``load``: the network in evaluation mode; ``plan(config, build)``: the artifact of a round. Memory: one gradient for
    each item of a batch, which is made smaller for networks with many parameters.
    """
    network = cache(load)
    rounds = [(epoch, side) for epoch in range(config.epochs) for side in range(len(views))]

    def plan_round(number: int, epoch: int, side: int) -> Plan:
        def build(folder: Path) -> None:
            key, description = (seed, epoch, side), f"Fisher {number}/{len(rounds)}"
            squares = sum_squares(network(), diffusion, views[side], names, key, batch_size, description)
            save_file(squares, folder / FILE)

        return plan({"epoch": epoch, "view": side}, build)

    return [plan_round(number, *which) for number, which in enumerate(rounds, start=1)]


def diagonal_fisher(rounds: Sequence[Artifact], items: int, folder: Path) -> None:
    """Write the mean over items, views and epochs of the squared gradient of an item's loss, per parameter.

    AbU (arXiv 2406.09408, §3). ``rounds``: all of ``plan_rounds``, each over so many ``items``.
    """
    total: dict[str, Tensor] = {}
    for part in rounds:
        squares = load_file(part.folder / FILE)
        total = {name: total[name] + value if name in total else value for name, value in squares.items()}
    count = len(rounds) * items
    save_file({name: value / count for name, value in total.items()}, folder / FILE)


def sum_squares(
    network: Network,
    diffusion: Diffusion,
    items: Items,
    names: list[str],
    key: tuple[int, int, int],
    batch_size: int,
    description: str,
) -> dict[str, Float[Tensor, "..."]]:
    """The sum over the items of the squared gradients of their losses; float64 on the CPU."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    selected = {name: parameters.pop(name) for name in names}
    buffers = dict(network.named_buffers())
    device = next(iter(selected.values())).device

    def loss(selected: dict[str, Tensor], x: Tensor, level: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        given = Given(condition[None]) if condition.numel() else NOTHING
        call = lambda *inputs: functional_call(network, (selected, parameters, buffers), inputs)  # noqa: E731
        return diffusion.loss(call, x[None], level[None], noise[None], given)[0]

    size = sum(value.numel() for value in selected.values())
    chunk = max(1, min(batch_size, BUFFER_VALUES // size))
    total = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in selected.items()}
    ids = items.ids
    for span in track(spans(len(ids), chunk), description, -(-len(ids) // chunk)):
        x, given = items.take(np.arange(span.start, span.stop))
        rngs = [generator(key[0], "fisher", key[1], key[2], int(item)) for item in ids[span]]
        levels = torch.cat([diffusion.training_levels(rng, 1) for rng in rngs])
        noise = torch.stack([normal(rng, *x.shape[1:]) for rng in rngs])
        given = network.embed_conditions(given.to(device), len(x))
        conditions = x.new_zeros(len(x), 0) if given.condition is None else given.condition
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels cannot be batched by vmap
            gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(
                selected, x.to(device), levels.to(device), noise.to(device), conditions.to(device)
            )
        for name, value in gradients.items():
            total[name] += value.square().sum(0).double().cpu()
    return total


def load_fisher(folder: Path, damping: float) -> dict[str, Float[Tensor, "..."]]:
    """What ``diagonal_fisher`` wrote, damped: float64 on the CPU, by the name of the parameter."""
    fisher = load_file(folder / FILE)
    mean = sum(float(value.sum()) for value in fisher.values()) / sum(value.numel() for value in fisher.values())
    return {name: value + damping * mean for name, value in fisher.items()}
