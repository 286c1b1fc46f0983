"""How alike two images are: a registry of measures, each from pairs of images to one number per pair."""

import logging
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.errors import UserError

log = logging.getLogger(__name__)
Images = Float[Tensor, "pair channel height width"]
Measure = Callable[[Images, Images], Float[Tensor, " pair"]]
MEASURES: dict[str, Measure] = {}
SSIM_SIGMA = 1.5  # Wang et al. 2004; torchmetrics makes an 11 x 11 window of it
SSIM_WINDOW = 11


def measure(name: str) -> Callable[[Measure], Measure]:
    """Register a measure under the name that configs use."""

    def register(function: Measure) -> Measure:
        MEASURES[name] = function
        return function

    return register


def find(name: str) -> Measure:
    """The measure of that name. Raises UserError, with the names there are, for an unknown one."""
    if name not in MEASURES:
        raise UserError(f"protocol.metrics names {name!r}, but the measures are {', '.join(sorted(MEASURES))}.")
    return MEASURES[name]


@measure("ssim")
def ssim(first: Images, second: Images) -> Float[Tensor, " pair"]:
    """Structural similarity of images in [-1, 1] (Wang et al. 2004), Gaussian window of 11 x 11; 1 = identical.

    On images smaller than that the window is the largest odd one that fits, of the same shape relative to its size.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    size = min(first.shape[-2:])
    window = min(SSIM_WINDOW, size - 1 + size % 2)
    if window < SSIM_WINDOW:
        log.info("SSIM uses a window of %d x %d pixels because the images are smaller than 11.", window, window)
    values = structural_similarity_index_measure(
        (first + 1) / 2,
        (second + 1) / 2,
        sigma=SSIM_SIGMA * window / SSIM_WINDOW,  # torchmetrics derives the window from sigma
        data_range=1.0,
        reduction="none",
    )
    assert isinstance(values, torch.Tensor)
    return values.reshape(len(first))
