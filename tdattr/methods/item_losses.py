"""The losses of the training items: F1's as an artifact, any network's with a progress bar."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdattr.methods import Context
from tdattr.report.progress import track
from tdattr.scoring.losses import NoiseSet, OwnNoise, View, loss_blocks

FILE = "losses.safetensors"


def f1_losses(
    context: Context, noise: NoiseSet | OwnNoise, config: Mapping[str, Any], view: View
) -> Float[Tensor, "target pair"]:
    """F1's loss of every item at every pair, computed once for all queries; ``config``: what ``noise`` is made from."""

    def build(folder: Path) -> None:
        save_file({"losses": item_losses(context, context.f1(), noise, view, "Losses of F1")}, folder / FILE)

    return load_file(context.shared("losses", 1, dict(config) | view.described(), build) / FILE)["losses"]


def item_losses(
    context: Context,
    network: nn.Module,
    noise: NoiseSet | OwnNoise,
    view: View,
    description: str,
    nested: bool = False,
) -> Float[Tensor, "target pair"]:
    """The losses of all items under ``network``."""
    batch_size = context.trainer.scoring_batch
    blocks: Iterable[tuple[slice, Tensor]] = loss_blocks(
        context.diffusion, network, view, context.ids, noise, batch_size, context.device
    )
    count = math.ceil(len(context.ids) / max(1, batch_size // len(noise)))
    losses = torch.empty(len(context.ids), len(noise))
    for places, block in track(blocks, description, count, nested):
        losses[places] = block
    return losses
