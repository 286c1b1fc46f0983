"""EDM's non-leaking augmentation (Karras et al. 2022, appendix F.2): the network is told, so nothing leaks."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.training.config import AugmentationConfig


def augment(
    x: Float[Tensor, "batch channel height width"], config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Float[Tensor, "batch channel height width"], Int[Tensor, " batch"]]:
    """Each item scaled, rotated, stretched and shifted, each with its own probability, and the class of each item.

    The class is 1 where anything was done, and 0 for an item that stays as it is, which is also what scoring and
    generation tell the network. Mirroring is not part of it: it is drawn before, with probability one half, and not
    told. What comes out may leave [-1, 1], as interpolation overshoots at edges.
    """
    count = len(x)
    applied = rng.random((4, count)) < config.probability
    identity = np.tile(np.eye(3), (count, 1, 1))

    def where(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.where(mask[:, None, None], matrix, identity)

    scale = 2 ** (rng.standard_normal(count) * config.scale)
    angle = rng.uniform(-math.pi, math.pi, count)
    stretch = 2 ** (rng.standard_normal(count) * config.anisotropy)
    direction = rng.uniform(-math.pi, math.pi, count) * (rng.random(count) < config.slanted_stretch)
    shift = rng.standard_normal((2, count)) * config.translation * 2  # the sampling grid is 2 wide

    total = where(applied[0], scaling(scale, scale)) @ where(applied[1], rotation(angle))
    total = total @ where(applied[2], rotation(direction) @ scaling(stretch, 1 / stretch) @ rotation(-direction))
    total = total @ where(applied[3], translation(*shift))
    theta = torch.from_numpy(total[:, :2].astype(np.float32))
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    transformed = torch.nn.functional.grid_sample(
        x, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    touched = torch.from_numpy(applied.any(0))
    return torch.where(touched[:, None, None, None], transformed, x), touched.long()


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
