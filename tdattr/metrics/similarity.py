"""How alike two images are: what every measure offers, and the two that need no network."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.features import Loadable, Setting
from tdattr.ranges import Count, Positive

log = logging.getLogger(__name__)
WIDTHS = 3.5  # of sigma, from the middle of a window to its border, as in torchmetrics
Images = Float[Tensor, "pair channel height width"]  # in [-1, 1], on the CPU
Compare = Callable[[Images, Images], Float[Tensor, " pair"]]


class Measure(Loadable):
    """A ``measures.<name>`` config node: a frozen dataclass whose fields are its settings.

    Fields that hold paths of files are named in ``unaddressed``; ``identity`` then gives the digests of the files.
    ``decimals``: how many of its numbers mean something. What differs only beyond them is rounding, which must not
    decide which of two images is more alike.
    """

    decimals: ClassVar[int] = 5  # float32 has 7 digits, of which those that a network's sums leave

    @abstractmethod
    def load(self, setting: Setting) -> Compare:
        """From pairs of images to one number each, higher = more alike."""

    def load_rounded(self, setting: Setting) -> Callable[[Images, Images], Float[Tensor, " pair"]]:
        """``load`` to its ``decimals``, in double precision, so that numbers that are alike there are equal."""
        compare = self.load(setting)
        return lambda first, second: compare(first, second).double().round(decimals=self.decimals)


@dataclass(frozen=True)
class SSIM(Measure):
    """Structural similarity (Wang et al. 2004) with a Gaussian window, sizes in pixels; 1 = identical.

    A mean over all windows, those around the border's pixels too, for which the image goes on mirrored: torchmetrics',
    as in MUCS's code. Where only windows count that lie within the image (Wang et al., scikit-image), it is another
    number, the more so the smaller the image; on the digits of glyphs it was 0.859 in place of 0.845.
    """

    packages: ClassVar = ("torchmetrics",)
    decimals: ClassVar = 4  # variances are differences of means in float32: 5e-5 off where an image is smooth

    sigma: Positive
    window: Count

    def load(self, setting: Setting) -> Compare:
        """On images smaller than the window it is the largest odd one that fits, of the same shape relative to its
        size."""
        return self.compare

    def compare(self, first: Images, second: Images) -> Float[Tensor, " pair"]:
        """The similarity of each pair."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        sigma, window = self.fit(min(first.shape[-2:]))
        if window < self.window:
            log.info("SSIM uses a window of %d x %d pixels, the largest that fits.", window, window)
        values = structural_similarity_index_measure(
            (first + 1) / 2,
            (second + 1) / 2,
            sigma=sigma,  # torchmetrics derives the window from it
            data_range=1.0,
            reduction="none",
        )
        assert isinstance(values, Tensor)
        return values.reshape(len(first))

    def fit(self, size: int) -> tuple[float, int]:
        """Sigma and the window for images of that side."""
        window = min(self.window, size - 1 + size % 2)
        return self.sigma * window / self.window, window

    def kernel(self, size: int) -> Float[Tensor, "side side"]:
        """How much each pixel of a window counts, for images of that side; together 1."""
        sigma, _ = self.fit(size)
        border = int(WIDTHS * sigma + 0.5)  # torchmetrics'
        row = torch.exp(-torch.arange(-border, border + 1).square() / (2 * sigma**2))
        row = row / row.sum()
        return row[:, None] * row


@dataclass(frozen=True)
class MSE(Measure):
    """1 - the mean squared difference of pixels in [0, 1], so that higher is more alike; 1 = identical."""

    decimals: ClassVar = 6  # a mean of squares in float32

    def load(self, setting: Setting) -> Compare:
        """Nothing is loaded."""
        return lambda first, second: 1 - ((first - second) / 2).square().flatten(1).mean(1)


def in_batches(compare: Compare, size: int) -> Compare:
    """``compare``, a few pairs at a time."""
    return lambda first, second: torch.cat(
        [compare(*pairs) for pairs in zip(first.split(size), second.split(size), strict=True)]
    )
