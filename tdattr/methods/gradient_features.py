"""What all gradient methods share: the features of the training items, stored once, and those of a query."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.configs import describe
from tdattr.costs import DOUBLE_BYTES, NUMBER_BYTES, Cost, Work
from tdattr.errors import UserError
from tdattr.methods import Context, Method
from tdattr.methods.f1_losses import f1_table
from tdattr.networks import Network
from tdattr.ranges import Positive
from tdattr.scoring.cells import Items, QueryItems, TrainingItems
from tdattr.scoring.gradients import GradientConfig, Gradients, Stacked, features, items_together
from tdattr.scoring.kernel import Kernel, count_products, decompose, load_kernel
from tdattr.scoring.loss_table import StoredTable
from tdattr.scoring.pairs import NoiseSet, Pairs
from tdattr.scoring.projection import spans
from tdattr.store import Plan, share_out

LEAST, MOST = 256, 1024  # items of a stored block
FILE = "features.npy"
Damping = Positive | Literal["grid"]  # grid: the scores of every damping of ``grid``


Compute = Callable[[Gradients, slice], Float[np.ndarray, "row feature"]]


def item_features(context: Context, config: GradientConfig) -> Stacked:
    """The features of F1's training items."""
    return stack(plan_item_features(context, config), "items")


def plan_item_features(context: Context, config: GradientConfig) -> list[Plan]:
    """Their artifacts."""
    items = TrainingItems(context.data.train, context.ids)
    return plan_features(context, config, len(items), {}, compute_features(context, items), pass_of(config))


def query_features(context: Context, config: GradientConfig) -> Float[Tensor, "query feature"]:
    """Those of the queries, as items."""
    return torch.from_numpy(stack(plan_query_features(context, config), "queries")[:])


def plan_query_features(context: Context, config: GradientConfig) -> list[Plan]:
    """Their artifacts."""
    items, about = QueryItems(context.queries), {"queries": context.queries.address}
    return plan_features(context, config, len(items), about, compute_features(context, items), pass_of(config))


def pass_of(config: GradientConfig) -> Work:
    """What the gradient of one item takes."""
    return Work(gradients=config.draws)


def compute_features(context: Context, items: Items) -> Compute:
    """Some of the items at the noise that all share."""
    return lambda gradients, rows: features(gradients, items, rows, context.seed)


def stack(plans: Sequence[Plan], called: str) -> Stacked:
    """The features of those artifacts, which jobs share out."""
    files = [artifact.folder / FILE for artifact in share_out(plans, f"Gradients of the {called}")]
    stops = [plan.key["config"]["rows"][1] for plan in plans]
    return Stacked(files, [0, *stops], np.load(files[0], mmap_mode="r").shape[1])


def plan_features(
    context: Context, config: GradientConfig, count: int, about: Mapping[str, str], compute: Compute, work: Work
) -> list[Plan]:
    """``count`` rows of features: artifacts, a block of rows each, that methods with the same ``config`` share.
    ``about``: what they depend on besides it, F1 and the training items; ``work``: what a row takes."""
    parameters = count_parameters(context, config.parameters)

    @cache
    def gradients() -> Gradients:
        return open_gradients(context, context.f1.load(), config)

    def plan(rows: slice) -> Plan:
        def build(folder: Path) -> None:
            np.save(folder / FILE, compute(gradients(), rows))

        length = rows.stop - rows.start
        kept = Work(
            projected=config.projection.count_numbers(parameters) * math.ceil(length / items_together(parameters)),
            bytes=length * config.projection.size(parameters) * NUMBER_BYTES,
        )
        cost = Cost(work * length + kept, context.f1.plans)
        key = describe(config) | about | {"rows": [rows.start, rows.stop]}
        return context.plan("gradients", 2, key, build).costing(lambda: cost)

    return [plan(rows) for rows in spans(count, block_rows(parameters))]


def open_gradients(context: Context, network: Network, config: GradientConfig) -> Gradients:
    """Those of a network, at the draws that all items and queries share."""
    names, noise = network.parameter_names(config.parameters), noise_set(context, config).to(context.device)
    return Gradients(network, context.diffusion, config, names, noise, context.trainer.gradient_batch)


def count_parameters(context: Context, part: str) -> int:
    """How many parameters a part of the network has; F1 need not be there where its features are."""
    network = context.skeleton()
    return sum(network.get_parameter(name).numel() for name in network.parameter_names(part))


def block_rows(parameters: int) -> int:
    """How many items a stored block has, between LEAST and MOST: a multiple of those that are projected together, as
    the projection is drawn anew for each such part and costs most."""
    together = items_together(parameters)
    return min(MOST, together * math.ceil(LEAST / together))


def kernel(context: Context, config: GradientConfig, items: Stacked) -> Kernel:
    """The kernel of the training items' features, decomposed once for all dampings."""
    return load_kernel(items, plan_kernel(context, config, items).get().folder)


def plan_kernel(context: Context, config: GradientConfig, items: Stacked | None) -> Plan:
    """Its decomposition; ``items``: None where it is not built."""

    def build(folder: Path) -> None:
        assert items is not None
        decompose(items, folder)

    def cost() -> Cost:
        rows, size = len(context.ids), config.projection.size(count_parameters(context, config.parameters))
        needs = plan_item_features(context, config)
        return Cost(Work(products=count_products(rows, size), bytes=size * min(rows, size) * DOUBLE_BYTES), needs)

    return context.plan("kernel", 2, describe(config), build).costing(cost)


def root_losses(context: Context, config: GradientConfig) -> Float[Tensor, "item draw"]:
    """The root of F1's loss of every training item at every draw: the size of its residual."""
    return loss_table(context, config, noise_set(context, config)).whole().sqrt()


def loss_table(context: Context, config: GradientConfig, pairs: Pairs) -> StoredTable:
    """F1's losses of the training items at the draws."""
    noise = {"draws": config.draws, "levels": config.levels, "noise": "gradients"}
    return f1_table(context, TrainingItems(context.data.train, context.ids), pairs, noise)


def noise_set(context: Context, config: GradientConfig) -> NoiseSet:
    """The draws that all items and queries share."""
    return config.noise_set(context.diffusion, tuple(context.queries.x.shape[1:]), context.seed)


class Differentiating(Method):
    """A method that compares gradients."""

    gradients: GradientConfig

    @property
    def signed(self) -> bool:
        """What has gradients of losses lowers or raises them; other outputs are alike or unlike."""
        return self.gradients.output == "loss"

    @property
    def of_items(self) -> GradientConfig:
        """What is differentiated of the items, where that is their losses whatever it is of the queries."""
        return replace(self.gradients, output="loss")

    def check_network(self, network: Network) -> None:
        """The network must have the part that is differentiated."""
        network.parameter_names(self.gradients.parameters)


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
        if isinstance(self.damping, str):
            return torch.stack([scores(self.gradients.projection.own_damping(value)) for value in self.grid])
        return scores(self.added_damping)

    @property
    def added_damping(self) -> float:
        """What one damping adds to our kernel. Raises TypeError for a grid."""
        if isinstance(self.damping, str):
            raise TypeError("a grid is not one damping")
        return self.gradients.projection.own_damping(self.damping)
