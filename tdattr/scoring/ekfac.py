"""EK-FAC: the Gauss-Newton matrix of a network's losses, layer by layer, as a diagonal in the eigenvectors of two small
matrices (George et al. 2018, arXiv 1806.03884).

Of a diffusion model's losses as in Mlodozeniec et al. 2024 (arXiv 2410.13850): outputs are sampled from what the loss
takes for their distribution, a normal one, and a layer's tokens count as items of their own (K-FAC-expand).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.costs import DOUBLE_BYTES
from tdattr.diffusion.batch import Batch
from tdattr.progress import track
from tdattr.scoring.cells import Items
from tdattr.scoring.gradients import Gradients
from tdattr.scoring.layer_gradients import HELD_VALUES, Layers, Products, is_product
from tdattr.scoring.projection import spans
from tdattr.seeding import generator, normal

INPUTS, OUTPUTS, VALUES = "inputs", "outputs", "values"  # of a layer's tensors, before the name of its weight


@dataclass(frozen=True)
class Curvature:
    """That of the layers whose weights have these names; float64. A bias is one more column of its weight."""

    inputs: Mapping[str, Float[Tensor, "_input _eigenvector"]]
    outputs: Mapping[str, Float[Tensor, "_output _eigenvector"]]
    values: Mapping[str, Float[Tensor, "_output _input"]]  # the diagonal

    def solve(self, gradients: Mapping[str, Float[Tensor, "row ..."]], damping: float) -> None:
        """Multiply gradients, by the name of the parameter, by the inverse, in place. ``damping``: this multiple of the
        mean of a layer's diagonal is added to it."""

        def invert(name: str, values: Tensor) -> Tensor:
            damped = values + damping * values.mean()
            return 1 / torch.where(damped > 0, damped, 1.0)  # no output depends on a layer without any curvature

        self.multiply(gradients, invert)

    def multiply(
        self, gradients: Mapping[str, Float[Tensor, "row ..."]], factors: Callable[[str, Tensor], Tensor]
    ) -> set[str]:
        """Multiply gradients, by the name of the parameter, by a function of the matrix, in place; the names of those
        that the matrix is of. ``factors``: of the name of a layer's weight and its diagonal, the diagonal of the
        function's value."""
        done = set[str]()
        for name, values in self.values.items():
            weight = gradients[name]
            columns = [weight.flatten(2)]
            bias = gradients[name_bias(name)] if values.shape[1] > columns[0].shape[2] else None
            if bias is not None:
                columns.append(bias[:, :, None])
            matrix = torch.cat(columns, dim=2).double()
            rotated = self.outputs[name].T @ matrix @ self.inputs[name] * factors(name, values)
            turned = (self.outputs[name] @ rotated @ self.inputs[name].T).to(weight.dtype)
            weight.copy_(turned[:, :, : columns[0].shape[2]].view_as(weight))
            done.add(name)
            if bias is not None:
                bias.copy_(turned[:, :, -1])
                done.add(name_bias(name))
        return done

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        kinds = {INPUTS: self.inputs, OUTPUTS: self.outputs, VALUES: self.values}
        return {
            f"{kind} {name}": value.cpu().contiguous()
            for kind, values in kinds.items()
            for name, value in values.items()
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> "Curvature":
        """From a file."""
        kinds: dict[str, dict[str, Tensor]] = {INPUTS: {}, OUTPUTS: {}, VALUES: {}}
        for key, value in tensors.items():
            kind, name = key.split(" ", 1)
            kinds[kind][name] = value.to(device)
        return cls(kinds[INPUTS], kinds[OUTPUTS], kinds[VALUES])


def name_bias(weight: str) -> str:
    """The name of the bias that goes with a weight."""
    return f"{weight.removesuffix('weight')}bias"


def count_curvature(network: nn.Module, names: Collection[str]) -> int:
    """The bytes of the curvature of those parameters, at most."""
    numbers = 0
    for prefix, layer in network.named_modules():
        if is_product(layer) and f"{prefix}.weight".lstrip(".") in names:
            weight = layer.get_parameter("weight").flatten(1)
            out, into = weight.shape[0], weight.shape[1] + 1
            numbers += into * into + out * out + out * into
    return numbers * DOUBLE_BYTES


def find_names(gradients: Gradients, items: Items) -> list[str]:
    """Those of ``gradients.names`` that are of linear layers and convolutions, and of nothing else."""
    x, given = items.take(np.arange(1))
    device = gradients.noise.levels.device
    given = gradients.network.embed_conditions(given.to(device), 1)
    cells = gradients.cells(x.to(device), given, slice(0, min(2, len(gradients.noise))))
    parts = [part for part in gradients.differentiate(cells) if isinstance(part, Products) and "weight" in part.names]
    covered = {name for part in parts for name in part.names.values()}
    return [name for name in gradients.names if name in covered]


def fit(gradients: Gradients, items: Items, seed: int) -> Curvature:
    """The curvature of the mean loss of the items over the draws of ``gradients``, whose names are ``find_names``."""
    inputs, outputs, values = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
    for parts in sampled(gradients, items, seed, "EK-FAC: covariances"):
        for part in parts:
            name, into, out = part.names["weight"], extend(part).flatten(0, 1), part.outputs().flatten(0, 1)
            add(inputs, name, into.T @ into)
            add(outputs, name, out.T @ out)
    inputs, outputs = diagonalise(inputs), diagonalise(outputs)
    for parts in sampled(gradients, items, seed, "EK-FAC: eigenvalues"):
        for part in parts:
            name = part.names["weight"]
            into, out = extend(part) @ inputs[name].float(), part.outputs() @ outputs[name].float()
            for span in spans(len(into), max(1, HELD_VALUES // (into.shape[2] * out.shape[2]))):
                add(values, name, (out[span].mT @ into[span]).square().sum(0))
    cells = len(items) * len(gradients.noise)
    return Curvature(inputs, outputs, {name: value / cells for name, value in values.items()})


def diagonalise(matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The eigenvectors of symmetric matrices, as columns."""
    return {name: torch.linalg.eigh(value)[1] for name, value in matrices.items()}


def add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add to a sum in double precision, or begin it."""
    sums[name] = sums[name] + value.double() if name in sums else value.double()


def extend(part: Products) -> Float[Tensor, "cell token input"]:
    """A layer's inputs, with a one for its bias."""
    return nn.functional.pad(part.inputs(), (0, 1), value=1.0) if "bias" in part.names else part.inputs()


def sampled(gradients: Gradients, items: Items, seed: int, description: str) -> Iterator[list[Products]]:
    """Every layer's gradients at some of the cells after others, of the loss of sampled outputs: their mean square is
    the Gauss-Newton matrix. What is sampled depends on the item and the draw alone."""
    layers, device = Layers.of(gradients.network, gradients.names), gradients.noise.levels.device
    count = len(gradients.noise)
    together = list(spans(len(items), max(1, gradients.batch_size // count)))
    for span in track(together, description, len(together)):
        x, given = items.take(np.arange(span.start, span.stop))
        given = gradients.network.embed_conditions(given.to(device), len(x))
        units = torch.stack([draw_outputs(seed, int(item), count, tuple(x.shape[1:])) for item in items.ids[span]])
        for draws, part in gradients.batches(len(x)):
            cells = gradients.cells(x[part].to(device), given[part], draws)
            unit = units[part, draws].flatten(0, 1).to(device)
            yield sample_gradients(gradients, layers, cells, unit)


def draw_outputs(seed: int, item: int, draws: int, shape: tuple[int, ...]) -> Float[Tensor, "draw *x"]:
    """How far an item's outputs lie from the predicted ones, in standard deviations."""
    return normal(generator(seed, "ekfac.outputs", item), draws, *shape)


def sample_gradients(
    gradients: Gradients, layers: Layers, cells: Batch, unit: Float[Tensor, "cell *x"]
) -> list[Products]:
    """Those of a function whose gradients' mean square over unit normal numbers is the Gauss-Newton matrix of the loss,
    which is a weight times the mean of the squared errors."""
    diffusion = gradients.diffusion

    def evaluate(network: Callable[..., Tensor]) -> Float[Tensor, " cell"]:
        errors = diffusion.error(network, *cells.inputs).flatten(1)
        roots = (2 * diffusion.loss_weight(cells.level) / errors.shape[1]).sqrt()
        return roots * (errors * unit.flatten(1)).sum(1)

    return [part for part in layers.differentiate(evaluate, len(cells)) if isinstance(part, Products)]
