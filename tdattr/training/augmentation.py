"""EDM's non-leaking augmentation (Karras et al. 2022, appendix F.2): the network is told, so nothing leaks."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.training.config import AugmentationConfig


def augment(
    x: Float[Tensor, "batch channel height width"], config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Float[Tensor, "batch channel height width"], Float[Tensor, "batch 2"]]:
    """Each item scaled, stretched, rotated and shifted, each with its own probability, and the label of what was done.

    The label's first entry tells of scaling or stretching, the second of rotation or translation; an item that stays
    as it is has (0, 0), which is also what scoring and generation use. Mirroring is not part of it: it is drawn
    before, with probability one half, and not told.
    """
    count = len(x)
    applied = rng.random((4, count)) < config.probability
    identity = np.tile(np.eye(3), (count, 1, 1))

    def where(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.where(mask[:, None, None], matrix, identity)

    scale = 2 ** (rng.standard_normal(count) * config.scale)
    direction = rng.uniform(-math.pi, math.pi, count)
    stretch = 2 ** (rng.standard_normal(count) * config.anisotropy)
    angle = rng.uniform(-math.pi, math.pi, count)
    shift = rng.standard_normal((2, count)) * config.translation * 2  # the sampling grid is 2 wide

    total = where(applied[0], scaling(scale, scale))
    total = total @ where(applied[1], rotation(direction) @ scaling(stretch, 1 / stretch) @ rotation(-direction))
    total = total @ where(applied[2], rotation(angle)) @ where(applied[3], translation(*shift))
    theta = torch.from_numpy(total[:, :2].astype(np.float32))
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    transformed = torch.nn.functional.grid_sample(
        x, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    label = torch.from_numpy(np.stack([applied[0] | applied[1], applied[2] | applied[3]], axis=1)).float()
    return torch.where(label.any(1)[:, None, None, None], transformed.clamp(-1, 1), x), label


def scaling(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Homogeneous 3 x 3 matrices."""
    matrix = np.tile(np.eye(3), (len(across), 1, 1))
    matrix[:, 0, 0], matrix[:, 1, 1] = across, down
    return matrix


def rotation(angle: np.ndarray) -> np.ndarray:
    """Homogeneous 3 x 3 matrices; radians."""
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    matrix[:, 0, 0] = matrix[:, 1, 1] = np.cos(angle)
    matrix[:, 1, 0] = np.sin(angle)
    matrix[:, 0, 1] = -matrix[:, 1, 0]
    return matrix


def translation(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Homogeneous 3 x 3 matrices."""
    matrix = np.tile(np.eye(3), (len(across), 1, 1))
    matrix[:, 0, 2], matrix[:, 1, 2] = across, down
    return matrix
