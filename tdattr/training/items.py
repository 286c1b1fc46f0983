"""Items as trainings see them."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.networks import NOTHING, Given
from tdattr.training.config import TrainConfig


def training_items(
    split: Split,
    ids: Int[np.ndarray, " batch"],
    config: TrainConfig,
    mirrored: Float[np.ndarray, " batch"],
    dropped: Float[np.ndarray, " batch"],
    caption: Float[np.ndarray, " batch"],
) -> tuple[Float[Tensor, "batch channel height width"], Given]:
    """The items as a training sees them and what it tells of them: some mirrored, some without their condition.

    ``mirrored``, ``dropped`` and ``caption`` decide which, and which of its captions each item has: draws from [0, 1).
    """
    x = split.x(ids, mirrored < 0.5 if config.mirror else False)
    if split.conditions is None:
        return x, NOTHING
    condition = split.condition(ids, (caption * split.captions).astype(int))
    return x, Given(condition, torch.from_numpy(dropped < config.condition_dropout))
