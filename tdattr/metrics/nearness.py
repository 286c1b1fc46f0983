"""Are images of the kind that a dataset has? A cheap look, without a network: how much they vary at every scale."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

QUANTILE = 0.99  # of held-out images, which counts as far
FLOOR = 1e-6  # of a mean square of pixels: flat images have no logarithm
LEAST_SPREAD = 1e-3  # of a statistic that is the same in all images


def describe_scales(images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image statistic"]:
    """The mean of every channel, and for details of 1, 2, 4 … pixels the logarithm of how strong they are.

    Noise has more of the small details than photographs and drawings have, blurred and unfinished images have fewer.
    """
    statistics = [images.mean((2, 3))]
    while min(images.shape[-2:]) >= 2:
        coarse = torch.nn.functional.avg_pool2d(images, 2)
        enlarged = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        details = images[..., : enlarged.shape[-2], : enlarged.shape[-1]] - enlarged
        statistics.append((details.square().mean((1, 2, 3)) + FLOOR).log()[:, None] / 2)
        images = coarse
    return torch.cat(statistics, dim=1)


def find_far(
    images: Float[Tensor, "image statistic"],
    held_out: Float[Tensor, "held statistic"],
    references: Float[Tensor, "reference statistic"],
) -> Bool[Tensor, " image"]:
    """Which of the images lie farther from their nearest reference than 99 % of the held-out ones do.

    All three by `describe_scales`; every statistic is measured in its standard deviations over the references. About
    one in a hundred where the images are of the held-out ones' kind.
    """
    spread = references.std(0, correction=0).clamp(min=LEAST_SPREAD)
    near, other = (torch.cdist(part / spread, references / spread).min(1).values for part in (held_out, images))
    return other > near.quantile(QUANTILE)
