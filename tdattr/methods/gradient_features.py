"""What all gradient methods share: the features of the training items, stored once, and those of a query."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.errors import UserError
from tdattr.methods import Context
from tdattr.methods.item_losses import f1_losses
from tdattr.networks import part_names
from tdattr.scoring.gradients import GradientConfig, Gradients, Take, stored_features
from tdattr.scoring.kernel import Kernel, decompose, load_kernel
from tdattr.scoring.losses import NoiseSet, View

GRID = "grid"  # method.damping=grid: the scores of every damping of method.grid


def gradient_features(
    context: Context, config: GradientConfig
) -> tuple[Float[np.ndarray, "item feature"], Float[Tensor, "query feature"]]:
    """The features of F1's training items and those of the queries, artifacts that methods with the same ``config``
    share."""
    network = context.f1()
    gradients = Gradients(
        network,
        context.diffusion,
        config,
        part_names(network, config.parameters),
        noise_set(context, config).to(context.device),
        context.trainer.gradient_batch,
    )

    split = context.data.train

    def item(places: slice) -> tuple[Tensor, Tensor | None]:
        return split.images(context.ids[places]), split.condition(context.ids[places])

    def query(places: slice) -> tuple[Tensor, Tensor | None]:
        return context.images[places], None if context.conditions is None else context.conditions[places]

    def stored(take: Take, count: int, about: dict[str, str], called: str) -> Float[np.ndarray, "item feature"]:
        def build(folder: Path) -> None:
            stored_features(gradients, take, count, context.seed, folder, f"Gradients of the {called}")

        folder = context.shared("gradients", 1, asdict(config) | about, build)
        return np.load(folder / "items_features.npy", mmap_mode="r")

    items = stored(item, len(context.ids), {}, "items")
    queries = stored(query, len(context.images), {"queries": context.queries}, "queries")
    return items, torch.from_numpy(np.array(queries))


def kernel(context: Context, config: GradientConfig, items: Float[np.ndarray, "item feature"]) -> Kernel:
    """The kernel of the training items' features, decomposed once for all dampings."""
    folder = context.shared("kernel", 1, asdict(config), lambda folder: decompose(items, folder))
    return load_kernel(items, folder)


def root_losses(context: Context, config: GradientConfig) -> Float[Tensor, "item draw"]:
    """The root of F1's loss of every training item at every draw: the size of its residual."""

    described = {"draws": config.draws, "levels": config.levels, "noise": "gradients"}
    return f1_losses(context, noise_set(context, config), described, View(context.data.train)).sqrt()


def noise_set(context: Context, config: GradientConfig) -> NoiseSet:
    """The draws that all items and queries share."""
    channels, height, width = context.images.shape[1:]
    return config.noise_set(context.diffusion, (channels, height, width), context.seed)


def check_dampings(damping: Any, grid: list[float]) -> None:
    """Raise UserError unless the damping is ``grid`` or a number above 0, and the grid holds such numbers."""
    if damping != GRID and (isinstance(damping, bool) or not isinstance(damping, (int, float)) or damping <= 0):
        raise UserError(f"method.damping={damping} must be a number above 0, or grid.")
    if not grid or min(grid) <= 0:
        raise UserError(f"method.grid={grid} must hold numbers above 0.")


def damped(
    scores: Callable[[float], Float[Tensor, " target"]], damping: float | str, grid: list[float]
) -> Float[Tensor, "*damping target"]:
    """The scores under one damping, or under each of the grid."""
    return torch.stack([scores(value) for value in grid]) if isinstance(damping, str) else scores(damping)
