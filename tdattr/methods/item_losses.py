"""The losses of the training items at a shared noise set: F1's as an artifact, any network's block by block."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdattr.methods import Context
from tdattr.report.progress import track
from tdattr.scoring.losses import NoiseSet, loss_blocks


def f1_losses(context: Context, noise: NoiseSet, config: Mapping[str, Any]) -> Float[Tensor, "target pair"]:
    """F1's loss of every item at every pair, computed once for all queries; ``config``: what ``noise`` is made from."""

    def build(folder: Path) -> None:
        losses = torch.empty(len(context.ids), len(noise))
        for places, block in tracked_losses(context, context.f1(), noise, "Losses of F1"):
            losses[places] = block
        save_file({"losses": losses}, folder / "losses.safetensors")

    return load_file(context.shared("losses", 1, config, build) / "losses.safetensors")["losses"]


def tracked_losses(
    context: Context, network: nn.Module, noise: NoiseSet, description: str, nested: bool = False
) -> Iterator[tuple[slice, Float[Tensor, "block pair"]]]:
    """The losses of all items under ``network``, block by block, with a progress bar."""
    batch_size = context.trainer.scoring_batch
    blocks = loss_blocks(context.diffusion, network, context.data.train, context.ids, noise, batch_size, context.device)
    return track(blocks, description, math.ceil(len(context.ids) / max(1, batch_size // len(noise))), nested)
