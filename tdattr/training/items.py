"""Items as trainings of a whole model see them: F1 and the counterfactual models."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdattr.data.prepared import Split
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator
from tdattr.training.config import TrainConfig


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """The order of the items in an epoch."""
    return generator(seed, "train.order", epoch).permutation(count)


def training_items(
    split: Split,
    ids: Int[np.ndarray, " batch"],
    config: TrainConfig,
    mirrored: Float[np.ndarray, " batch"],
    dropped: Float[np.ndarray, " batch"],
    caption: Float[np.ndarray, " batch"],
    window: Float[np.ndarray, " batch"],
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "batch channel height width"], Given]:
    """The items as a training sees them and what it tells of them: some mirrored, some without their condition.

    ``mirrored``, ``dropped``, ``caption`` and ``window`` decide which, and which of its captions and windows each item
    has: draws from [0, 1). ``rng``: by which x is drawn, where it is.
    """
    x = split.x(ids, choose_mirrored(config, mirrored), window, rng)
    return x, give_condition(split, ids, (caption * split.captions).astype(int), config, dropped)


def unlearning_items(
    split: Split,
    ids: Int[np.ndarray, " batch"],
    config: TrainConfig,
    mirrored: Float[np.ndarray, " batch"],
    dropped: Float[np.ndarray, " batch"],
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "batch channel height width"], Given]:
    """The same for the unlearning of a group, which sees the central windows and the first captions (MUCS's code)."""
    first = np.zeros(len(ids), dtype=int)
    x = split.x(ids, choose_mirrored(config, mirrored), rng=rng)
    return x, give_condition(split, ids, first, config, dropped)


def choose_mirrored(config: TrainConfig, drawn: Float[np.ndarray, " batch"]) -> Bool[np.ndarray, " batch"]:
    """Which items are mirrored: about half of them, or none."""
    return (drawn < 0.5) & config.mirror


def give_condition(
    split: Split,
    ids: Int[np.ndarray, " batch"],
    captions: Int[np.ndarray, " batch"],
    config: TrainConfig,
    drawn: Float[np.ndarray, " batch"],
) -> Given:
    """What the network is told: those of the items' captions, some of the conditions dropped."""
    condition = split.condition(ids, captions)
    if condition is None:
        return NOTHING
    drop = drawn < config.condition_dropout
    if split.untold is not None:
        drop |= split.untold[ids]
    return Given(condition, torch.from_numpy(drop))
