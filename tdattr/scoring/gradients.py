"""Per-example gradients of a named output function at a shared noise set: what TRAK, D-TRAK, DAS and TracIn compare."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
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
from tdattr.diffusion.batch import Batch
from tdattr.networks import Given, Network
from tdattr.progress import track
from tdattr.ranges import Count
from tdattr.scoring.cells import Items
from tdattr.scoring.layer_gradients import HELD_VALUES, CellGradients, Held, Layers
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig, project, spans
from tdattr.seeding import generator, normal

OUTPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # (losses [cell], outputs [cell, value]) -> [cell]
    "loss": lambda losses, outputs: losses,  # TRAK (Park et al. 2023, arXiv 2303.14186)
    "squared_output": lambda losses, outputs: outputs.square().mean(1),  # D-TRAK (arXiv 2311.00500)
    "mean_output": lambda losses, outputs: outputs.mean(1),  # DAS (arXiv 2410.18639)
}
MIN_LENGTH = 1e-12  # by which a gradient is divided when it is normalised
UNEXPLAINED_SHARE = 0.01  # of a parameter's gradient: more than the rounding of any precision
ROUNDING = 1e-4  # of the whole gradient: what a parameter may be left with whose gradient is zero but for rounding
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
    # for each number of cells, the parameters that are differentiated cell by cell; copies with other noise share it
    unexplained: dict[int, list[str]] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(self.network.get_parameter(name).numel() for name in self.names)

    def of(
        self, x: Float[Tensor, "item *x"], given: Given, description: str | None = None
    ) -> Float[Tensor, "item parameter"]:
        """The gradient of each item, averaged over the draws; float32 on the network's device. With a progress bar
        where it has a ``description``."""
        given = self.network.embed_conditions(given, len(x))
        total = x.new_zeros(len(x), self.size)
        batches = list(self.batches(len(x)))
        for draws, part in batches if description is None else track(batches, description, len(batches), nested=True):
            cells = self.cells(x[part], given[part], draws)
            gradients = self.differentiate(cells)
            weights = self.weigh(gradients, x.new_full((len(cells),), 1 / len(self.noise)))
            sums = self.by_name(total[part])
            for each in gradients:
                each.add_to(sums, weights.view(len(x[part]), -1))
        return total

    def of_items(self, items: Items, rows: slice, description: str | None = None) -> Float[Tensor, "item parameter"]:
        """The same of some of numbered items."""
        x, given = items.take(np.arange(rows.start, rows.stop))
        device = self.noise.levels.device
        return self.of(x.to(device), given.to(device), description)

    def weigh(self, gradients: list[CellGradients], weights: Float[Tensor, " cell"]) -> Float[Tensor, " cell"]:
        """The weights of cells, over the lengths of their gradients where these are normalised."""
        if not self.config.normalise:
            return weights
        squares = sum((each.squares() for each in gradients), torch.zeros_like(weights))
        return weights / squares.sqrt().clamp(min=MIN_LENGTH)

    def along(self, cells: Batch, directions: Float[Tensor, "direction parameter"]) -> Float[Tensor, "direction cell"]:
        """The inner products of directions with the gradient at each cell, which may be told all that a network is."""
        cells = replace(cells, given=self.network.embed_conditions(cells.given, len(cells)))
        by_name = self.by_name(directions)
        products = []
        for span in spans(len(cells), self.batch_size):
            part = cells[span]
            gradients = self.differentiate(part)
            weights = self.weigh(gradients, part.x.new_ones(len(part)))
            products.append(weights * torch.stack([each.along(by_name) for each in gradients]).sum(0).T)
        return torch.cat(products, dim=1)

    def cells(self, x: Float[Tensor, "item *x"], given: Given, draws: slice) -> Batch:
        """Every item at each of some draws, item by item."""
        items, count = len(x), draws.stop - draws.start
        levels, noise = self.noise.levels[draws], self.noise.noise[draws]
        noise = noise.expand(items, *noise.shape).flatten(0, 1)
        return Batch(x.repeat_interleave(count, 0), levels.repeat(items), noise, given.repeat_interleave(count))

    def by_name(self, flat: Float[Tensor, "item parameter"]) -> dict[str, Float[Tensor, "item *shape"]]:
        """Views of flat gradients as those of each parameter."""
        shapes = {name: self.network.get_parameter(name).shape for name in self.names}
        columns = flat.split([shape.numel() for shape in shapes.values()], dim=1)
        return {name: part.view(len(flat), *shapes[name]) for name, part in zip(shapes, columns, strict=True)}

    def differentiate(self, cells: Batch) -> list[CellGradients]:
        """The gradients at each cell: layer by layer, and cell by cell where that does not give them."""
        count = len(cells)
        if count not in self.unexplained:
            self.unexplained[count] = self.find_unexplained(cells)
        others = self.unexplained[count]
        by_layer = Layers.of(self.network, [name for name in self.names if name not in others])
        gradients = by_layer.differentiate(lambda network: self.values(network, cells), count)
        return [*gradients, Held(self.cell_by_cell(cells, others))] if others else gradients

    def values(self, network: Callable[..., Tensor], cells: Batch) -> Float[Tensor, " cell"]:
        """The output function at each cell."""
        outputs: list[Tensor] = []

        def call(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
            outputs.append(network(x, c_noise, given))
            return outputs[-1]

        losses = self.diffusion.loss(call, *cells.inputs)
        return OUTPUTS[self.config.output](losses, outputs[0].flatten(1))

    def cell_by_cell(self, cells: Batch, names: list[str]) -> dict[str, Float[Tensor, "cell *shape"]]:
        """The gradients of some parameters at each cell, whatever the network does with them."""
        every = {name: value.detach() for name, value in self.network.named_parameters()}
        rest = {name: value for name, value in every.items() if name not in names} | dict(self.network.named_buffers())

        def value(
            selected: dict[str, Tensor], x: Tensor, level: Tensor, noise: Tensor, told: dict[str, Tensor]
        ) -> Tensor:
            given = Given(**{name: value[None] for name, value in told.items()})
            cell = Batch(x[None], level[None], noise[None], given)
            return self.values(lambda *inputs: functional_call(self.network, (selected, rest), inputs), cell)[0]

        told = {name: value for name, value in vars(cells.given).items() if value is not None}
        selected = {name: every[name] for name in names}
        chunk = max(1, HELD_VALUES // sum(value.numel() for value in selected.values()))
        differentiate = vmap(grad(value), in_dims=(None, 0, 0, 0, 0), chunk_size=chunk)
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels cannot be batched by vmap
            return differentiate(selected, cells.x, cells.level, cells.noise, told)

    def find_unexplained(self, cells: Batch) -> list[str]:
        """The parameters whose gradients are not what the calls of their modules give.

        First those that the network uses otherwise, as autograd's graph says, whatever the noise; also of one cell
        more: a module may be called for something else of which there are as many. Then those whose gradients differ
        from autograd's, in a sum over all cells in which each has another weight and none outweighs the others.
        """
        layers, count = Layers.of(self.network, self.names), len(cells)
        otherwise = set[str]()
        for order in (range(count), [0, *range(count)]):
            chosen = cells[torch.tensor(order, device=cells.x.device)]
            otherwise |= layers.used_otherwise(partial(self.values, cells=chosen), len(chosen))
        parts = layers.differentiate(partial(self.values, cells=cells), count)
        found = self.by_name(cells.x.new_zeros(1, self.size))
        weights = torch.linspace(1, 2, count, device=cells.x.device)
        squares = sum((each.squares() for each in parts), torch.zeros_like(weights))
        weights = weights / squares.sqrt().clamp(min=MIN_LENGTH)
        for each in parts:
            each.add_to(found, weights[None])
        exact = self.summed(cells, weights)
        least = ROUNDING * torch.stack([value.norm() for value in exact.values()]).norm()
        return [
            name
            for name, value in exact.items()
            if name in otherwise
            or (value.any() and not found[name].any())
            or not (found[name][0] - value).norm() <= UNEXPLAINED_SHARE * value.norm() + least
        ]

    def summed(self, cells: Batch, weights: Float[Tensor, " cell"]) -> dict[str, Float[Tensor, "*shape"]]:
        """The sums of all cells' gradients, times their weights, by one backward pass."""
        leaves = {name: self.network.get_parameter(name).detach().requires_grad_() for name in self.names}
        with torch.enable_grad():
            values = self.values(lambda *inputs: functional_call(self.network, leaves, inputs), cells)
            ends = list(leaves.values())
            gradients = torch.autograd.grad((weights * values).sum(), ends, allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, gradients, strict=True))

    def batches(self, items: int) -> Iterator[tuple[slice, slice]]:
        """What is computed at a time: some of the draws of some of so many items."""
        draws_at_once = min(len(self.noise), self.batch_size)
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
    parts = []
    for span in spans(rows.stop - rows.start, items_together(gradients.size)):
        first, stop = rows.start + span.start, rows.start + span.stop
        which = f"of {first + 1}-{stop}"
        of_items = gradients.of_items(items, slice(first, stop), f"Gradients {which}")
        parts.append(project(of_items, gradients.config.projection, seed, f"Projection {which}").cpu().numpy())
    return np.concatenate(parts)
