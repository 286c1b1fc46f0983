"""Per-example gradients of a named output function at a shared noise set: what TRAK, D-TRAK, DAS and TracIn compare."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.diffusion import Diffusion
from tdattr.networks import NOTHING, Given, Network
from tdattr.progress import track
from tdattr.ranges import Count
from tdattr.scoring.cells import Items
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig, project, spans
from tdattr.seeding import generator, normal

OUTPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # (losses [draw], outputs [draw, c, h, w]) -> their mean
    "loss": lambda losses, outputs: losses.mean(),  # TRAK (Park et al. 2023, arXiv 2303.14186)
    "squared_output": lambda losses, outputs: outputs.square().mean(),  # D-TRAK (arXiv 2311.00500)
    "mean_output": lambda losses, outputs: outputs.mean(),  # DAS (arXiv 2410.18639)
}
MIN_LENGTH = 1e-12  # by which a gradient is divided when it is normalised
BUFFER_VALUES = 1 << 28  # gradient values held and projected together: 1 GB in float32


@dataclass(frozen=True)
class GradientConfig:
    """The ``gradients`` node of a method: what is differentiated, where, and how it is stored.

    ``output``: ``loss``, ``squared_output`` or ``mean_output`` of the network. ``draws`` noise draws, the same for
    every item: at the levels that a ``generation`` of so many steps visits, at those of a ``discrete`` process
    (D-TRAK's t = 0, T / draws, …), or at random ones of ``training``. ``normalise``: each draw's gradient gets length 1
    before they are averaged. ``parameters``: a part of the network.
    """

    output: Literal["loss", "squared_output", "mean_output"]
    draws: Count
    levels: Literal["generation", "discrete", "training"]
    normalise: bool
    parameters: str
    projection: ProjectionConfig

    def noise_set(self, diffusion: Diffusion, shape: tuple[int, ...], seed: int) -> NoiseSet:
        """The draws that all items and queries share."""
        rng = generator(seed, "gradients.noise")
        if self.levels == "training":
            levels = diffusion.training_levels(rng, self.draws)
        elif self.levels == "discrete":
            levels = diffusion.leading_levels(self.draws)
        else:
            levels = diffusion.generation_levels(self.draws)
        return NoiseSet(levels, normal(rng, self.draws, *shape))


@dataclass(frozen=True)
class Gradients:
    """Gradients of one network's output function with respect to the named parameters, flattened in their order."""

    network: Network  # in evaluation mode
    diffusion: Diffusion
    config: GradientConfig
    names: list[str]
    noise: NoiseSet  # on the network's device
    batch_size: int  # (item, draw) evaluations at a time

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(self.network.get_parameter(name).numel() for name in self.names)

    def of(
        self, x: Float[Tensor, "item *x"], given: Given, description: str | None = None
    ) -> Float[Tensor, "item parameter"]:
        """The gradient of each item, averaged over the draws; float32 on the network's device. With a progress bar
        where it has a ``description``."""
        parameters = {name: value.detach() for name, value in self.network.named_parameters()}
        selected = {name: parameters[name] for name in self.names}
        rest = {name: value for name, value in parameters.items() if name not in selected}
        buffers = dict(self.network.named_buffers())

        def output(selected: dict[str, Tensor], x: Tensor, levels: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            outputs: list[Tensor] = []

            def network(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
                outputs.append(functional_call(self.network, (selected, rest, buffers), (x, c_noise, given)))
                return outputs[-1]

            draws = len(levels)
            given = Given(condition.expand(draws, *condition.shape)) if condition.numel() else NOTHING
            losses = self.diffusion.loss(network, x.expand(draws, *x.shape), levels, noise, given)
            return OUTPUTS[self.config.output](losses, outputs[0])

        given = self.network.embed_conditions(given, len(x))
        conditions = x.new_zeros(len(x), 0) if given.condition is None else given.condition
        total = x.new_zeros(len(x), self.size)
        batches = list(self.batches(len(x)))
        for draws, part in batches if description is None else track(batches, description, len(batches), nested=True):
            levels, noise = self.noise.levels[draws], self.noise.noise[draws]
            with sdpa_kernel(SDPBackend.MATH):  # the other kernels cannot be batched by vmap
                gradients = vmap(grad(output), in_dims=(None, 0, None, None, 0))(
                    selected, x[part], levels, noise, conditions[part]
                )
            blocks = [gradients[name].flatten(1) for name in self.names]
            scale = x.new_full((len(blocks[0]), 1), len(levels) / len(self.noise))
            if self.config.normalise:
                lengths = torch.stack([torch.linalg.vector_norm(block, dim=1) for block in blocks]).norm(dim=0)
                scale = scale / lengths.clamp(min=MIN_LENGTH)[:, None]
            columns = total[part].split([block.shape[1] for block in blocks], dim=1)
            for target, block in zip(columns, blocks, strict=True):  # in one pass over memory, which is what limits
                target.addcmul_(block, scale)
        return total

    def batches(self, items: int) -> Iterator[tuple[slice, slice]]:
        """What is computed at a time: some of the draws of some of so many items; one draw where each is normalised."""
        draws_at_once = 1 if self.config.normalise else min(len(self.noise), self.batch_size)
        for draws in spans(len(self.noise), draws_at_once):
            count = len(range(len(self.noise))[draws])
            yield from ((draws, part) for part in spans(items, max(1, self.batch_size // count)))


@dataclass(frozen=True)
class Stacked:
    """Files of rows as if they were one array. Each is opened only while it is read: there may be thousands."""

    files: list[Path]
    starts: list[int]  # the first row of each file, and the number of all rows
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of the whole."""
        return self.starts[-1], self.width

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "row feature"]:
        """Those rows, read into memory."""
        start, stop, _ = rows.indices(self.starts[-1])
        parts = []
        for file, (first, end) in zip(self.files, pairwise(self.starts), strict=True):
            if first < stop and end > start:
                parts.append(np.array(np.load(file, mmap_mode="r")[max(0, start - first) : stop - first]))
        return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)


def items_together(parameters: int) -> int:
    """Of how many items gradients of that many parameters are held and projected together."""
    return max(1, BUFFER_VALUES // parameters)


def features(gradients: Gradients, items: Items, rows: slice, seed: int) -> Float[np.ndarray, "item feature"]:
    """The projected gradients of some items; float32.

    As many as fit in memory are projected together: the projection, which is drawn anew each time, costs most.
    """
    device = gradients.noise.levels.device
    parts = []
    for span in spans(rows.stop - rows.start, items_together(gradients.size)):
        first, stop = rows.start + span.start, rows.start + span.stop
        x, given = items.take(np.arange(first, stop))
        which = f"of {first + 1}-{stop}"
        of_items = gradients.of(x.to(device), given.to(device), f"Gradients {which}")
        parts.append(project(of_items, gradients.config.projection, seed, f"Projection {which}").cpu().numpy())
    return np.concatenate(parts)
