"""What all gradient methods share: the features of the training items, stored once, and those of a query."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import describe
from tdattr.errors import UserError
from tdattr.methods import Context, Method, MethodSetup
from tdattr.methods.f1_losses import f1_table
from tdattr.ranges import Positive
from tdattr.scoring.cells import Items, QueryItems, TrainingItems
from tdattr.scoring.gradients import GradientConfig, Gradients, Stacked, features, items_together
from tdattr.scoring.kernel import Kernel, decompose, load_kernel
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import spans
from tdattr.store import Plan, share_out

LEAST, MOST = 256, 1024  # items of a stored block
FILE = "features.npy"
Damping = Positive | Literal["grid"]  # grid: the scores of every damping of ``grid``


Compute = Callable[[Gradients, slice], Float[np.ndarray, "row feature"]]


def item_features(context: Context, config: GradientConfig) -> Stacked:
    """The features of F1's training items."""
    items = TrainingItems(context.data.train, context.ids)
    return stack_features(context, config, len(items), {}, "items", compute_features(context, items))


def query_features(context: Context, config: GradientConfig) -> Float[Tensor, "query feature"]:
    """Those of the queries, as items."""
    items, about = QueryItems(context.queries), {"queries": context.queries.address}
    found = stack_features(context, config, len(items), about, "queries", compute_features(context, items))
    return torch.from_numpy(found[:])


def compute_features(context: Context, items: Items) -> Compute:
    """Some of the items at the noise that all share."""
    return lambda gradients, rows: features(gradients, items, rows, context.seed)


def stack_features(
    context: Context, config: GradientConfig, count: int, about: Mapping[str, str], called: str, compute: Compute
) -> Stacked:
    """``count`` rows of features: artifacts, a block of rows each, that methods with the same ``config`` share and jobs
    share out. ``about``: what they depend on besides it, F1 and the training items."""

    @cache
    def gradients() -> Gradients:
        network = context.f1.load()
        names = network.parameter_names(config.parameters)
        noise = noise_set(context, config).to(context.device)
        return Gradients(network, context.diffusion, config, names, noise, context.trainer.gradient_batch)

    def plan(rows: slice) -> Plan:
        def build(folder: Path) -> None:
            np.save(folder / FILE, compute(gradients(), rows))

        return context.plan("gradients", 2, describe(config) | about | {"rows": [rows.start, rows.stop]}, build)

    parts = list(spans(count, block_rows(count_parameters(context, config))))
    artifacts = share_out([plan(rows) for rows in parts], f"Gradients of the {called}")
    files = [artifact.folder / FILE for artifact in artifacts]
    return Stacked(files, [*(rows.start for rows in parts), count], np.load(files[0], mmap_mode="r").shape[1])


def count_parameters(context: Context, config: GradientConfig) -> int:
    """How many parameters are differentiated, seen on a fresh network: F1 need not be there where its features are."""
    network = context.f0()
    return sum(network.get_parameter(name).numel() for name in network.parameter_names(config.parameters))


def block_rows(parameters: int) -> int:
    """How many items a stored block has, between LEAST and MOST: a multiple of those that are projected together, as
    the projection is drawn anew for each such part and costs most."""
    together = items_together(parameters)
    return min(MOST, together * math.ceil(LEAST / together))


def kernel(context: Context, config: GradientConfig, items: Stacked) -> Kernel:
    """The kernel of the training items' features, decomposed once for all dampings."""
    folder = context.share("kernel", 2, describe(config), lambda folder: decompose(items, folder))
    return load_kernel(items, folder)


def root_losses(context: Context, config: GradientConfig) -> Float[Tensor, "item draw"]:
    """The root of F1's loss of every training item at every draw: the size of its residual."""
    noise = {"draws": config.draws, "levels": config.levels, "noise": "gradients"}
    items = TrainingItems(context.data.train, context.ids)
    return f1_table(context, items, noise_set(context, config), noise).whole().sqrt()


def noise_set(context: Context, config: GradientConfig) -> NoiseSet:
    """The draws that all items and queries share."""
    return config.noise_set(context.diffusion, tuple(context.queries.x.shape[1:]), context.seed)


class Differentiating(Method):
    """A method that compares gradients."""

    gradients: GradientConfig

    def check(self, setup: MethodSetup) -> None:
        """The network must have the part that is differentiated."""
        setup.network.parameter_names(self.gradients.parameters)


class Damped(Differentiating):
    """One that inverts the kernel of the features, with one damping or with each of a grid, in ``DAMPING_UNIT``."""

    remedy: ClassVar[str] = "raise method.damping"

    damping: Damping
    grid: list[Positive]

    def __post_init__(self) -> None:
        if not self.grid:
            raise UserError("method.grid must hold at least one number.")

    @property
    def dampings(self) -> list[float] | None:
        """The values that are scored with, where that is more than one."""
        return self.grid if self.damping == "grid" else None

    def unread(self) -> dict[str, str]:
        """The grid, where one damping is given."""
        return {} if self.damping == "grid" else {"grid": f"damping={self.damping}"}

    def damp(self, scores: Callable[[float], Float[Tensor, " target"]]) -> Float[Tensor, "*damping target"]:
        """The scores under the damping, or under each of the grid; ``scores`` is told what to add to our kernel."""
        own = self.gradients.projection.own_damping
        if isinstance(self.damping, str):
            return torch.stack([scores(own(value)) for value in self.grid])
        return scores(own(self.damping))
