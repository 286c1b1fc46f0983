"""The picture of a query generated again, its changes weighted as SSIM weights them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tdattr.methods import Context
from tdattr.methods.output.pixels import PixelsOutput
from tdattr.metrics.similarity import SSIM
from tdattr.seeding import generator

K1, K2 = 0.01, 0.03  # Wang et al. 2004, section III-B; torchmetrics' defaults, as ``SSIM`` has them
HALF = 0.5  # pixels in [-1, 1] to those in [0, 1]


@dataclass(frozen=True)
class SsimOutput(PixelsOutput):
    """The ``output=ssim`` node: ``directions`` combinations of the picture's pixels whose squared changes add up, on
    average, to 1 - SSIM of the picture before and after, to second order.

    Let the picture change by d, and a window of the picture before have the mean m and the variance v. The two factors
    of the window's SSIM (Wang et al. 2004) are below one by mean(d)² / (2 m² + C1) and by var(d) / (2 v + C2), so that
    1 - SSIM is a sum of squares of what the windows' means and the deviations from them change. Random signs combine
    these in place of pixels.
    """

    measure: SSIM

    def combine(self, context: Context, query: int, size: int) -> Float[Tensor, "direction pixel"]:
        """The derivatives of the combinations by the pixels: no combination depends on where they stand."""
        picture = context.decode(context.queries.x[query : query + 1].to(context.device))[0]
        kernel = self.measure.kernel(min(picture.shape[-2:])).to(picture)
        means, deviations = split_up(HALF * (picture + 1), kernel)
        variances = (kernel.flatten()[:, None] * deviations.square()).sum(1, keepdim=True)
        of_means = 1 / (2 * means.square() + K1**2)
        of_deviations = kernel.flatten()[:, None] / (2 * variances + K2**2)
        roots = [(weight / means.numel() / self.directions).sqrt() for weight in (of_means, of_deviations)]
        rng = generator(context.seed, "output.ssim", query)

        rows = []
        for _ in range(self.directions):
            signed = [root * torch.from_numpy(rng.choice([-1.0, 1.0], size=root.shape)).to(root) for root in roots]
            rows.append(torch.func.grad(add_up)(torch.zeros_like(picture), kernel, signed).flatten())
        return torch.stack(rows)


def add_up(
    change: Float[Tensor, "channel height width"], kernel: Float[Tensor, "side side"], signed: list[Tensor]
) -> Tensor:
    """The combination of what a change of a picture does to its windows, whose parts count as in ``signed``."""
    means, deviations = split_up(HALF * change, kernel)
    return (signed[0] * means).sum() + (signed[1] * deviations).sum()


def split_up(
    picture: Float[Tensor, "channel height width"], kernel: Float[Tensor, "side side"]
) -> tuple[Float[Tensor, "channel 1 window"], Float[Tensor, "channel place window"]]:
    """The mean of every window under the kernel, and how its pixels differ from that. There is a window around every
    pixel; beyond the border the picture goes on mirrored."""
    border = len(kernel) // 2
    padded = nn.functional.pad(picture[:, None], (border,) * 4, mode="reflect")
    patches = nn.functional.unfold(padded, len(kernel))
    means = (kernel.flatten()[:, None] * patches).sum(1, keepdim=True)
    return means, patches - means
