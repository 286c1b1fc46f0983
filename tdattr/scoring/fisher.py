"""The diagonal empirical Fisher information of a network on its training items."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.diffusion import Diffusion
from tdattr.files import move_into_place, name_aside
from tdattr.networks import NOTHING, Given
from tdattr.progress import track
from tdattr.ranges import Count, PositiveOrZero
from tdattr.scoring.cells import Items
from tdattr.scoring.gradients import BUFFER_VALUES
from tdattr.scoring.projection import spans
from tdattr.seeding import generator, normal

log = logging.getLogger(__name__)
FILE = "fisher.safetensors"
PARTIAL = "partial.safetensors"  # the sums so far, and after how many rounds


@dataclass(frozen=True)
class FisherConfig:
    """``epochs``: how often every item is visited, each time at its own level and noise. ``damping``: this multiple of
    the Fisher information's mean over all parameters is added to it."""

    epochs: Count
    damping: PositiveOrZero


def diagonal_fisher(
    network: nn.Module,
    diffusion: Diffusion,
    views: Sequence[Items],
    names: list[str],
    config: FisherConfig,
    seed: int,
    batch_size: int,
    folder: Path,
) -> None:
    """Write the mean over items, views and epochs of the squared gradient of an item's loss, per parameter.

    AbU (arXiv 2406.09408, §3). ``network`` is in evaluation mode. An interrupted call resumes after its last whole
    round (one epoch of one view). Memory: one gradient for each item of a batch, which is made smaller for networks
    with many parameters.
    """
    partial = folder / PARTIAL
    done, total = read_sums(partial) if partial.exists() else (0, {})
    rounds = [(epoch, side) for epoch in range(config.epochs) for side in range(len(views))]
    if done:
        log.info("The Fisher information resumes after %d of %d rounds.", done, len(rounds))
    for number, (epoch, side) in enumerate(rounds[done:], start=done + 1):
        key, description = (seed, epoch, side), f"Fisher {number}/{len(rounds)}"
        squares = sum_squares(network, diffusion, views[side], names, key, batch_size, description)
        total = {name: total[name] + value if name in total else value for name, value in squares.items()}
        facts = {"rounds": str(number), "sha256": digest_sums(number, total)}
        save_file(total, name_aside(partial), facts)
        move_into_place(name_aside(partial), partial)
    count = len(rounds) * len(views[0])
    save_file({name: value / count for name, value in total.items()}, folder / FILE)
    partial.unlink()


def read_sums(path: Path) -> tuple[int, dict[str, Float[Tensor, "..."]]]:
    """How many rounds an interrupted call has summed up, and the sums; none, with a warning, where the file is
    damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            total = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts["sha256"] == digest_sums(int(facts["rounds"]), total):
            return int(facts["rounds"]), total
    except (SafetensorError, ValueError, KeyError):
        pass
    log.warning("%s is damaged: starting over.", path)
    return 0, {}


def digest_sums(rounds: int, total: Mapping[str, Float[Tensor, "..."]]) -> str:
    """A digest of both."""
    digest = hashlib.sha256(str(rounds).encode())
    for name in sorted(total):
        digest.update(name.encode() + total[name].numpy().tobytes())
    return digest.hexdigest()


def sum_squares(
    network: nn.Module,
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
