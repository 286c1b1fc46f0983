"""Diffusion variants: what a noise level is, how to train on it, which levels generation visits, how to sample."""

from typing import ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from tdattr.networks import Network


class Diffusion(Protocol):
    """A diffusion variant around any network. Levels are float tensors whose meaning only the variant knows.

    Noise images are always unit normal; the variant scales them.
    """

    sampling: ClassVar[tuple[str, ...]]  # the settings that only generation reads; a change of them retrains nothing

    def training_levels(self, rng: np.random.Generator, count: int) -> Float[Tensor, " count"]:
        """Levels drawn from the training distribution."""
        ...

    def generation_levels(self, count: int) -> Float[Tensor, " count"]:
        """The ``count`` levels that a generation with that many steps visits, most noise first."""
        ...

    def loss(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
        augmentation: Float[Tensor, "batch label"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The training loss of each item: a mean over its pixels, no mean over the batch."""
        ...

    def predicted_noise(
        self,
        network: Network,
        x: Float[Tensor, "batch channel height width"],
        level: Float[Tensor, " batch"],
        noise: Float[Tensor, "batch channel height width"],
        condition: Float[Tensor, "batch condition"] | None = None,
        drop: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """The noise that the network sees in the item noised by ``noise``: equal to it where the network is perfect."""
        ...

    def noise_weight(self, level: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The loss is this times the mean over pixels of (predicted noise - noise)^2."""
        ...

    def log_snr(self, level: Float[Tensor, " level"]) -> Float[Tensor, " level"]:
        """ln of the ratio of signal to noise variance in a noised item; float64 on the CPU."""
        ...

    def ladder(self, steps: int) -> Float[Tensor, " level"]:
        """The levels of a discrete process, least noise first: ``steps`` of them, or a discrete variant's own."""
        ...

    def sample(
        self,
        network: Network,
        rngs: list[np.random.Generator],
        shape: tuple[int, int, int],
        condition: Float[Tensor, "batch condition"] | None,
        guidance: float | None,
    ) -> Float[Tensor, "batch channel height width"]:
        """One image in [-1, 1] per generator, each a function of its own generator alone, never of the batch."""
        ...
