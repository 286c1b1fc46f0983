"""Images as pretrained networks expect them: of one size, with three channels and standardised values."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.features import Images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def standardise(
    images: Images, size: int, mean: Sequence[float], std: Sequence[float], mode: str = "bicubic"
) -> Float[Tensor, "batch 3 size size"]:
    """Images in [-1, 1] resized (with antialiasing), made RGB, clipped to [0, 1], then (value - mean) / std."""
    unit = ((resize(images, size, mode) + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
    shift, scale = (unit.new_tensor(list(values))[:, None, None] for values in (mean, std))
    return (unit - shift) / scale


def resize(images: Images, size: int, mode: str = "bicubic") -> Float[Tensor, "batch channel size size"]:
    """Images of ``size`` x ``size``, by antialiased interpolation; those of that size are returned as they are."""
    if images.shape[-2:] == (size, size):
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode=mode, align_corners=False, antialias=True)
